"""Finds what is nobody's and removes it: whatever dies, and wherever in between, leaves nothing for long.

Everything that exists is looked at, not only what this child knows of: containers of any scheduler, and what was made
for a container that never came to be. Only Airflow's database says whether somebody still needs it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from datetime import UTC, datetime

from airflow.utils.state import TaskInstanceState

from airflow_sop_provider.engine.keeping import is_kept
from airflow_sop_provider.executors.attempt_carrier import AttemptCarrier, Services
from airflow_sop_provider.runtimes import Handle, RuntimeFailedError

__all__ = ["Sweep"]

log = logging.getLogger(__name__)

_LIVE = frozenset({TaskInstanceState.QUEUED.value, TaskInstanceState.RUNNING.value, TaskInstanceState.SCHEDULED.value})
_LOOK_SECONDS = 30.0  # to learn how a container ended, which is known; only an engine in trouble takes long


class Sweep:
    """Removes containers whose task instance is over or gone, whichever scheduler started them.

    :param carriers: the attempts of this child by task instance id; read only, kept by `Child`.
    """

    def __init__(self, services: Services, carriers: Mapping[str, AttemptCarrier]) -> None:
        self._services = services
        self._carriers = carriers

    async def run(self) -> None:
        """Look at everything once.

        :raises RuntimeFailedError: the runtime does not tell what exists.
        :raises SQLAlchemyError: the database does not tell what is needed.
        """
        found = [(_task_instance(handle), handle) for handle in await self._services.runtime.find()]
        strangers = [(key, handle) for key, handle in found if key and key not in self._carriers]
        if not strangers:
            return
        states = await self._services.database.states({key for key, _ in strangers})
        left = [(key, handle) for key, handle in strangers if states.get(key) not in _LIVE]
        await asyncio.gather(*(self._remove(key, handle, states.get(key)) for key, handle in left))

    async def _remove(self, key: str, handle: Handle, state: str | None) -> None:
        """Remove one; what cannot be removed now must not hold up the others."""
        runtime, settings = self._services.runtime, self._services.settings
        try:
            # Looked at again: since then an attempt may have been handed to this child.
            if await self._is_kept(handle) or key in self._carriers:
                return
            log.info("removing %s, left behind: its task instance is %s", handle.name, state or "gone")
            if handle.state == "running":
                await runtime.stop(handle, grace=settings.termination_grace_seconds)
            await runtime.remove(handle)
        except RuntimeFailedError as error:
            log.warning("%s was left behind and could not be removed, trying again: %s", handle.name, error)

    async def _is_kept(self, handle: Handle) -> bool:
        seconds = self._services.settings.keep_failed_seconds
        if seconds <= 0 or handle.state != "ended":
            return False
        try:
            async with asyncio.timeout(_LOOK_SECONDS):
                seen = await self._services.runtime.wait(handle)
        except Exception as error:
            # Whatever the reason, nobody can tell how it ended: it is not kept.
            log.warning("how %s ended cannot be told: %r", handle.name, error)
            return False
        return is_kept(seen, seconds, datetime.now(UTC))


def _task_instance(handle: Handle) -> str:
    return handle.labels.get("task_instance", "")
