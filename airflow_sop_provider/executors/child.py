"""The executor's child process: one event loop that holds every running step.

Started by `ChildLink` with the number of an inherited socket. It ends when the scheduler's end of
the socket closes and leaves all steps running: whoever comes next finds them by name.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
import sys
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime
from typing import Any

from airflow.api_fastapi.execution_api.routes.task_instances import ti_run
from pydantic import ValidationError

from airflow_sop_provider.airflow_settings import SopSettings, engine_secret, read_settings
from airflow_sop_provider.contract import AttemptKey
from airflow_sop_provider.engine.runner_tokens import key_of_secret, runner_token
from airflow_sop_provider.executors.attempt_carrier import AttemptCarrier, Services
from airflow_sop_provider.executors.group_commit import GroupCommit
from airflow_sop_provider.executors.ledger import Ledger
from airflow_sop_provider.executors.messages import (
    AttemptMessage,
    FinishedMessage,
    RevokeMessage,
    decode,
)
from airflow_sop_provider.executors.metadata_db import MetadataDb
from airflow_sop_provider.executors.watch import Watch
from airflow_sop_provider.runtimes import Runtime, choose_runtime, open_runtime

__all__ = ["Child", "main"]

log = logging.getLogger(__name__)

_LINE_LIMIT = 64 * 1024 * 1024  # an agent-centric payload holds a whole SOP; far above what one may be


class Child:
    """Everything the child process does, between a reader and a writer.

    :param services: what attempts need.
    """

    def __init__(self, services: Services, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._services = services
        self._reader = reader
        self._writer = writer
        self._carriers: dict[str, AttemptCarrier] = {}
        self._next: dict[str, AttemptMessage] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Serve until the scheduler closes its end."""
        watch = Watch(self._services, self._carriers)
        self._spawn(watch.run())
        while line := await self._reader.readline():
            self._take(line)
        log.info("the scheduler is gone; leaving %d attempts to the next one", len(self._carriers))
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _take(self, line: bytes) -> None:
        try:
            message = decode(line)
        except ValidationError:
            log.exception("the scheduler sent something that is no message")
            return
        if isinstance(message, AttemptMessage):
            self._begin(message)
        elif isinstance(message, RevokeMessage):
            carrier = self._carriers.get(message.task_instance_id)
            if carrier is not None:
                self._spawn(carrier.stop("revoked by the scheduler: it was queued for too long"))

    def _begin(self, message: AttemptMessage) -> None:
        key = message.key.task_instance_id
        if key in self._carriers:
            self._next[key] = message  # people have answered while the attempt that asked them is being cleaned up
            return
        carrier = AttemptCarrier(message, self._services)
        self._carriers[key] = carrier
        self._spawn(self._carry(key, carrier))

    async def _carry(self, key: str, carrier: AttemptCarrier) -> None:
        self._say(await carrier.carry())
        # It stays in the table meanwhile, so that the sweep does not take it for a stranger's.
        try:
            await carrier.clean_up()
        finally:
            self._carriers.pop(key, None)
        if (message := self._next.pop(key, None)) is not None:
            self._begin(message)

    def _say(self, message: FinishedMessage) -> None:
        self._writer.write(message.model_dump_json().encode() + b"\n")

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            # Going on would leave an attempt that nobody follows. The scheduler starts a new child,
            # which adopts all of them.
            log.critical("a task of the executor's child failed; ending the child", exc_info=error)
            os._exit(1)


async def _serve(descriptor: int, settings: SopSettings) -> None:
    connection = socket.socket(fileno=descriptor)
    # Steps outlive this process; one that held the socket would hide our death from the scheduler.
    connection.set_inheritable(False)
    reader, writer = await asyncio.open_unix_connection(sock=connection, limit=_LINE_LIMIT)
    database, commit = MetadataDb(), GroupCommit()
    services = Services(
        ledger=Ledger(commit),
        database=database,
        runtime=await _runtime(settings),
        settings=settings,
        token=_runner_token_maker(),
    )
    try:
        await Child(services, reader, writer).run()
    finally:
        commit.close()
        database.close()


async def _runtime(settings: SopSettings) -> Runtime:
    choice = await choose_runtime(settings.runtime, settings.of_runtimes())
    log.info("steps run on the %s runtime: %s", choice.name, choice.reason)
    return open_runtime(choice.name, settings.of_runtimes())


def _runner_token_maker() -> Callable[[AttemptKey, float | None], str]:
    """Return a function that makes the engine's token for a runner, see `engine.runner_tokens`."""
    secret = engine_secret()

    def make(key: AttemptKey, timeout_seconds: float | None) -> str:
        return runner_token(key, key_of_secret(secret), timeout_seconds=timeout_seconds, now=datetime.now(UTC))

    return make


def _quieten() -> None:
    """Have Airflow's functions that set states say warnings only: their lines would be most of the scheduler's log."""
    from airflow.configuration import conf

    given = conf.get("logging", "namespace_levels", fallback="") or ""
    os.environ["AIRFLOW__LOGGING__NAMESPACE_LEVELS"] = f"{given} {ti_run.__module__}=warning".strip()


def main() -> None:
    """Run the child; the only argument is the number of the inherited socket."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _quieten()
    from airflow import settings as airflow_settings

    airflow_settings.initialize()  # type: ignore[no-untyped-call]  # Airflow's own
    with contextlib.suppress(ImportError):
        from setproctitle import setproctitle

        setproctitle("airflow sop executor")
    # Airflow sets httpx to INFO: a line per call would be most of the scheduler's log.
    logging.getLogger("httpx").setLevel(logging.WARNING)
    asyncio.run(_serve(int(sys.argv[1]), read_settings()))


if __name__ == "__main__":
    main()
