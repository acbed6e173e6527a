"""One attempt on a runtime of this host, local or Docker, carried out from within a worker's task process.

Synchronous on the outside, as operators are. The attempt is stopped through a runtime of its own
in a thread of its own: the request comes in a signal handler, in the middle of whatever the task's
event loop is doing, and everything needed to stop an attempt stands in its folder.
"""

from __future__ import annotations

import asyncio
import json
import logging
import threading
from typing import TYPE_CHECKING, Any

from airflow_sop_provider.engine.attempts import attempt_spec
from airflow_sop_provider.runtimes.base import Handle, Outcome, Runtime, RuntimeFailedError
from airflow_sop_provider.runtimes.select import open_runtime

if TYPE_CHECKING:
    from airflow_sop_provider.airflow_settings import SopSettings
    from airflow_sop_provider.contract.assignment import Assignment

__all__ = ["LocalAttempt"]


class LocalAttempt:
    """An attempt that is run once and may be stopped from a signal handler.

    :param runtime: name of the runtime.
    :param log: gets the attempt's output, line by line.
    """

    def __init__(self, assignment: Assignment, settings: SopSettings, runtime: str, log: Any) -> None:
        self._assignment = assignment
        self._settings = settings
        self._name = runtime
        self._log = log
        self._handle: Handle | None = None

    def run(self) -> Outcome | RuntimeFailedError:
        """Return what was seen of the attempt, or why it could not be started."""
        try:
            return asyncio.run(self._run())
        except RuntimeFailedError as error:
            return error

    def stop(self) -> None:
        """End the attempt; returns once nothing of it runs."""
        thread = threading.Thread(target=lambda: asyncio.run(self._stop()), name="stop-attempt")
        thread.start()
        thread.join()

    async def _run(self) -> Outcome:
        runtime = open_runtime(self._name, self._settings.of_runtimes())
        try:
            self._handle = await runtime.start(attempt_spec(self._assignment, self._settings))
            logs = asyncio.create_task(self._follow(runtime, self._handle))
            outcome = await runtime.wait(self._handle)
            await logs
            await runtime.remove(self._handle)
            return outcome
        finally:
            await runtime.close()

    async def _stop(self) -> None:
        if self._handle is None:
            return
        runtime = open_runtime(self._name, self._settings.of_runtimes())
        try:
            await runtime.stop(self._handle, grace=self._settings.termination_grace_seconds)
        finally:
            await runtime.close()

    async def _follow(self, runtime: Runtime, handle: Handle) -> None:
        async for _, line in runtime.logs(handle):
            level, text = _parsed(line)
            self._log.log(level, "%s", text)


def _parsed(line: str) -> tuple[int, str]:
    """Return level and text of a line: the runner writes JSON, whatever it starts may write anything."""
    try:
        record = json.loads(line)
        level = logging.getLevelNamesMapping()[str(record["level"]).upper()]
        return level, str(record["event"])
    except (ValueError, TypeError, KeyError):
        return logging.INFO, line
