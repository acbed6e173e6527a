"""Open sessions with servers: one for each execution and server, all closed when the execution ends.

A session's transport must be opened and closed by one task, so each session has a task of its own that waits for its
end. A session that failed is not used again: what state it is in, nobody knows.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

from mcp import Client, StdioServerParameters
from mcp.client.stdio import stdio_client
from mcp.client.streamable_http import streamable_http_client
from mcp.types import Implementation, Tool

from airflow_sop_provider import __version__
from airflow_sop_provider.contract.exit_codes import ExitCode
from airflow_sop_provider.contract.programs import INHERITED, ProgramNotFoundError, guarded_argv
from airflow_sop_provider.fleet.call_failures import CallFailedError, HttpTap, failure_of, permanent
from airflow_sop_provider.fleet.credentials import access_to
from airflow_sop_provider.fleet.http_client import http_client
from airflow_sop_provider.fleet.registry import FleetError, HttpServer, StdioServer, resolve_variables

__all__ = ["DEFAULT_TIMEOUT", "Session", "Sessions"]

DEFAULT_TIMEOUT = 300.0
"""Seconds for one answer where the server sets no limit."""

_TOOLS_FRESH_SECONDS = 30.0
_MOST_PAGES = 100
_CLOSE_SECONDS = 10.0
_SHARED = ("", "")


class Session:
    """One session with one server; `open`, then use `client` until `close`."""

    def __init__(self, name: str, server: HttpServer | StdioServer) -> None:
        self.name = name
        self.server = server
        self.tap = HttpTap()
        self.timeout = server.timeout or DEFAULT_TIMEOUT
        self.used = time.monotonic()
        self.broken = False
        self._ready: asyncio.Future[Client] = asyncio.get_running_loop().create_future()
        self._over = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._tools: dict[str, Tool] | None = None
        self._listed = float("-inf")

    async def open(self) -> None:
        """Connect.

        :raises CallFailedError: if that fails; nothing had begun then.
        """
        self._task = asyncio.create_task(self._run(), name=f"fleet session {self.name}")
        try:
            async with asyncio.timeout(self.timeout):
                await asyncio.shield(self._ready)
        except BaseException as error:
            await self.close()
            if isinstance(error, Exception):
                raise _untouched(failure_of(error, self.name, self.tap, self.timeout)) from error
            raise

    async def tools(self) -> dict[str, Tool]:
        """Return the server's tools by name, all pages; a listing is trusted for 30 s.

        :raises CallFailedError: if they cannot be listed.
        """
        if self._tools is None or time.monotonic() - self._listed > _TOOLS_FRESH_SECONDS:
            try:
                async with asyncio.timeout(self.timeout):
                    self._tools = await self._list()
            except Exception as error:
                self.broken = True
                raise _untouched(failure_of(error, self.name, self.tap, self.timeout)) from error
            self._listed = time.monotonic()
        return self._tools

    async def call(self, tool: str, arguments: dict[str, Any], key: str | None) -> Any:
        """Call a tool and return its `CallToolResult`, checked against the tool's output schema.

        :param key: idempotency key, passed on for servers that understand one.
        :raises CallFailedError: if there is no such result.
        """
        self.used = time.monotonic()
        meta: Any = {"airflow-sop/idempotency-key": key} if key else None
        try:
            async with asyncio.timeout(self.timeout):
                return await self._client.call_tool(tool, arguments, meta=meta)
        except Exception as error:
            failure = failure_of(error, self.name, self.tap, self.timeout)
            self.broken = failure.unavailable or self.tap.too_large is not None
            raise failure from error
        except asyncio.CancelledError:
            self.broken = True
            raise

    async def close(self) -> None:
        """End it; an stdio server's process ends with it."""
        self.broken = True
        self._over.set()
        if self._task is not None:
            done, _ = await asyncio.wait([self._task], timeout=_CLOSE_SECONDS)
            if not done:
                self._task.cancel()
                await asyncio.wait([self._task], timeout=_CLOSE_SECONDS)

    @property
    def _client(self) -> Client:
        return self._ready.result()

    async def _list(self) -> dict[str, Tool]:
        found: dict[str, Tool] = {}
        cursor: str | None = None
        for _ in range(_MOST_PAGES):
            page = await self._client.list_tools(cursor=cursor, cache_mode="bypass")
            found.update((tool.name, tool) for tool in page.tools)
            cursor = page.next_cursor
            if not cursor:
                return found
        text = f"`{self.name}` lists tools on more than {_MOST_PAGES} pages. Correct the server."
        raise permanent(ExitCode.BAD_CONFIGURATION, "mcp-endless-list", text)

    async def _run(self) -> None:
        try:
            async with self._connected() as client:
                self._ready.set_result(client)
                await self._over.wait()
        except BaseException as error:
            self.broken = True
            if not self._ready.done():
                self._ready.set_exception(error if isinstance(error, Exception) else ConnectionError("closed"))
                self._ready.exception()  # whoever waited may be gone
            if not isinstance(error, Exception):
                raise

    @contextlib.asynccontextmanager
    async def _connected(self) -> AsyncIterator[Client]:
        async with contextlib.AsyncExitStack() as stack:
            if isinstance(self.server, StdioServer):
                transport = stdio_client(_parameters(self.name, self.server), errlog=sys.__stderr__ or sys.stderr)
            else:
                http = await stack.enter_async_context(_http(self.name, self.server, self.tap))
                transport = streamable_http_client(self.server.url, http_client=http)
            info = Implementation(name="airflow-sop-gateway", version=__version__)
            client = Client(transport, read_timeout_seconds=self.timeout, client_info=info)
            yield await stack.enter_async_context(client)


class Sessions:
    """All sessions of one gateway.

    :param idle_seconds: after which an unused session is closed by `sweep`, seconds.
    :param make: makes a session that is not open yet.
    """

    def __init__(
        self,
        idle_seconds: float = 600.0,
        clock: Callable[[], float] = time.monotonic,
        make: Callable[[str, HttpServer | StdioServer], Session] = Session,
    ) -> None:
        self._idle = idle_seconds
        self._clock = clock
        self._make = make
        self._open: dict[tuple[tuple[str, str], str], Session] = {}
        self._locks: dict[tuple[tuple[str, str], str], asyncio.Lock] = {}

    def __len__(self) -> int:
        return len(self._open)

    async def get(self, execution: tuple[str, str], name: str, server: HttpServer | StdioServer) -> Session:
        """Return the execution's open session with a server, a new one if need be.

        :raises CallFailedError: if it cannot be opened.
        """
        shared = isinstance(server, StdioServer) and server.shared
        key = (_SHARED if shared else execution, name)
        async with self._locks.setdefault(key, asyncio.Lock()):
            session = self._open.get(key)
            if session is not None and not session.broken and session.server == server:
                session.used = self._clock()
                return session
            if session is not None:
                del self._open[key]
                await session.close()
            session = self._make(name, server)
            await session.open()
            self._open[key] = session
            return session

    def executions(self) -> list[tuple[str, str]]:
        """Return the executions that have sessions of their own, as (sop, run id)."""
        return sorted({execution for execution, _ in self._open if execution != _SHARED})

    async def end_execution(self, sop: str, run_id: str) -> None:
        """Close every session of an execution that is over."""
        await self._close([key for key in self._open if key[0] == (sop, run_id)])

    async def sweep(self) -> None:
        """Close sessions that nobody used for long: their execution's end may have been missed."""
        now = self._clock()
        await self._close([key for key, session in self._open.items() if now - session.used > self._idle])

    async def close(self) -> None:
        """Close all."""
        await self._close(list(self._open))

    async def _close(self, keys: list[tuple[tuple[str, str], str]]) -> None:
        sessions = [self._open.pop(key) for key in keys]
        for key in keys:
            self._locks.pop(key, None)
        await asyncio.gather(*(session.close() for session in sessions))


def _untouched(failure: CallFailedError) -> CallFailedError:
    """Before the call itself nothing was done, whatever went wrong."""
    failure.may_have_acted = False
    return failure


def _http(name: str, server: HttpServer, tap: HttpTap) -> Any:
    try:
        return http_client(server, access_to(server), tap)
    except FleetError as error:
        raise permanent(ExitCode.BAD_CONFIGURATION, "fleet-variable-missing", f"`{name}`: {error}") from error


def _parameters(name: str, server: StdioServer) -> StdioServerParameters:
    try:
        program, *arguments = guarded_argv(server.command, list(server.args))
        declared = resolve_variables(server.env)
    except ProgramNotFoundError as error:
        raise permanent(ExitCode.BAD_CONFIGURATION, "mcp-server-not-found", f"`{name}`: {error}") from error
    except FleetError as error:
        raise permanent(ExitCode.BAD_CONFIGURATION, "fleet-variable-missing", f"`{name}`: {error}") from error
    environment = {variable: os.environ[variable] for variable in INHERITED if variable in os.environ}
    return StdioServerParameters(command=program, args=arguments, env={**environment, **declared})
