"""MCP servers kept warm for a suite: connected on the first call, closed at the end.

A container opens a connection for its one call; a suite of hundreds of cases would spend its time starting
servers. The calls themselves, their checks and their failures are the runner's.
"""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path
from types import TracebackType
from typing import Any

from anyio.from_thread import BlockingPortal, start_blocking_portal
from mcp import Client

from airflow_sop_provider.contract.exit_codes import ErrorType
from airflow_sop_provider.fleet.registry import FleetError, load_fleet
from airflow_sop_provider.runner.failures import StepFailureError, bad_configuration
from airflow_sop_provider.runner.mcp_call import call_on, connection
from airflow_sop_provider.runner.mcp_failures import HttpTap, classify
from airflow_sop_provider.runner.step_context import StepContext
from airflow_sop_provider.runner.tool import DEFAULT_TIMEOUT, call_timeout

__all__ = ["WarmServers"]


class WarmServers:
    """Calls tools over connections that stay open; a context manager.

    :param fleet: path of ``fleet.yaml``.
    :param context: whose log takes what the servers write, and whose redactor their credentials.
    """

    def __init__(self, fleet: Path, context: StepContext) -> None:
        self._fleet = fleet
        self._context = context
        self._stack = contextlib.ExitStack()
        self._portal: BlockingPortal | None = None
        self._open: dict[str, tuple[Client, HttpTap, contextlib.ExitStack]] = {}

    def __enter__(self) -> WarmServers:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for name in list(self._open):
            self._drop(name)
        self._stack.close()

    def __call__(self, server: str, tool: str, arguments: dict[str, Any], limit: float | None) -> Any:
        """Call a tool, connecting first where that was not done.

        :raises StepFailureError: as a step's own call would.
        """
        try:
            declared = load_fleet(self._fleet).server(server)
        except FleetError as error:
            raise bad_configuration("fleet", str(error)) from error
        timeout = call_timeout(declared.timeout, limit)
        tap = HttpTap()
        try:
            client, tap = self._connected(server, declared, tap)
            assert self._portal is not None
            return self._portal.call(_limited, client, server, tool, arguments, timeout)
        except Exception as error:
            failure = classify(error, server, tap, timeout)
            if failure.error_type is ErrorType.TRANSIENT:  # the connection may be what is broken
                self._drop(server)
            raise failure from error

    def _connected(self, name: str, declared: Any, tap: HttpTap) -> tuple[Client, HttpTap]:
        if name in self._open:
            client, tap, _ = self._open[name]
            return client, tap
        if self._portal is None:
            self._portal = self._stack.enter_context(start_blocking_portal())
        stack = contextlib.ExitStack()
        opened = connection(self._context, name, declared, declared.timeout or DEFAULT_TIMEOUT, tap)
        client = stack.enter_context(self._portal.wrap_async_context_manager(opened))
        self._open[name] = (client, tap, stack)
        return client, tap

    def _drop(self, name: str) -> None:
        _, _, stack = self._open.pop(name, (None, None, contextlib.ExitStack()))
        with contextlib.suppress(Exception, StepFailureError):  # it is gone, however it went
            stack.close()


async def _limited(client: Client, name: str, tool: str, arguments: dict[str, Any], seconds: float) -> Any:
    async with asyncio.timeout(seconds):
        return await call_on(client, name, tool, arguments)
