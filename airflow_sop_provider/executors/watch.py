"""What the child does for all attempts together, at intervals.

One query finds attempts that are no longer Airflow's (marked failed, cleared, deleted) so that their
containers end within two seconds; one statement a heartbeat; one sweep for containers that a crash
left and that belong to nobody.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping

from airflow.utils.state import TaskInstanceState
from sqlalchemy.exc import SQLAlchemyError

from airflow_sop_provider.executors.attempt_carrier import AttemptCarrier, Services
from airflow_sop_provider.executors.sweep import Sweep
from airflow_sop_provider.runtimes import RuntimeFailedError

__all__ = ["Watch"]

log = logging.getLogger(__name__)

_SWEEP_SECONDS = 30.0
_PAUSES = 9
"""A look may take a tenth of the time."""
_LONGEST_PAUSE_SECONDS = 1.0  # a step that is cancelled is gone within 2 s


class Watch:
    """Runs until cancelled.

    :param carriers: the attempts of this child by task instance id; read only, kept by `Child`.
    """

    def __init__(self, services: Services, carriers: Mapping[str, AttemptCarrier]) -> None:
        self._services = services
        self._carriers = carriers
        self._stopping: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Do all three for ever."""
        settings = self._services.settings
        await asyncio.gather(
            self._every(settings.poll_seconds, self._stop_lost_attempts),
            self._every(settings.heartbeat_seconds, self._send_heartbeats),
            self._every(_SWEEP_SECONDS, Sweep(self._services, self._carriers).run),
        )

    async def _every(self, seconds: float, work: Callable[[], Awaitable[None]]) -> None:
        """Do it again and again, ``seconds`` between at least."""
        while True:
            began = time.monotonic()
            try:
                await work()
            except SQLAlchemyError as error:
                # The database is away for a while: attempts go on, the next turn may find it again.
                log.warning("the metadata database did not answer: %s", error)
            except RuntimeFailedError as error:
                log.warning("the runtime could not do it, trying again in %g s: %s", seconds, error)
            await asyncio.sleep(_pause(seconds, time.monotonic() - began))

    async def _stop_lost_attempts(self) -> None:
        running = [key for key, carrier in self._carriers.items() if carrier.may_be_stopped]
        if not running:
            return
        states = await self._services.database.states(running)
        for key in running:
            carrier = self._carriers.get(key)
            state = states.get(key)
            if carrier is None or not carrier.may_be_stopped or state == TaskInstanceState.RUNNING:
                continue
            reason = f"Airflow set the task instance to {state}" if key in states else "the task instance was cleared"
            task = asyncio.ensure_future(carrier.stop(reason))
            self._stopping.add(task)
            task.add_done_callback(self._stopped)

    def _stopped(self, task: asyncio.Task[None]) -> None:
        self._stopping.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("an attempt could not be stopped", exc_info=error)

    async def _send_heartbeats(self) -> None:
        running = [key for key, carrier in self._carriers.items() if carrier.running]
        if running:
            await self._services.database.heartbeat(running)


def _pause(seconds: float, took: float) -> float:
    """Return how long to wait after work that took ``took`` seconds: with thousands of attempts that is long."""
    return max(seconds, min(_LONGEST_PAUSE_SECONDS, _PAUSES * took))
