"""The fleet's gateway: an ASGI service that speaks MCP to runners, and the only door to data.

At ``/<server>/mcp`` stands one server of the fleet as the caller may see it. Who calls is known from the bearer token
alone; no header of a caller goes to a server. MCP's own low-level server does the protocol, without a session: every
request is complete, so any gateway process can answer it, and an execution costs nothing here between its calls.

Why not FastMCP, whose proxies do something like it: everything of worth here (whose token, which tools, retries,
breaker, journal, record, one session for each execution) would have been ours all the same; a call through it took
1.5 ms of CPU instead of 0.6, through its proxy 6.7 ms; and it brings 24 more distributions into Airflow's
environment, a key ring among them.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from typing import Any

from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel import Server
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from mcp.shared.exceptions import MCPError
from mcp.types import (
    INTERNAL_ERROR,
    CallToolRequestParams,
    CallToolResult,
    ListToolsResult,
    PaginatedRequestParams,
)
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from airflow_sop_provider import __version__
from airflow_sop_provider.fleet.call_failures import CallFailedError
from airflow_sop_provider.fleet.call_policy import allowed_tools
from airflow_sop_provider.fleet.calls import Calls
from airflow_sop_provider.fleet.ports import Caller, IdentityVerifier

__all__ = ["FleetGateway"]

_LOG = logging.getLogger(__name__)
_CALL = "airflow_sop_provider.fleet.call"
_SWEEP_SECONDS = 60.0


class FleetGateway:
    """The gateway as an ASGI application, `app`, which serves while `run` is entered.

    :param verify: tells who holds a token.
    """

    def __init__(self, verify: IdentityVerifier, calls: Calls) -> None:
        self._verify = verify
        self.calls = calls
        self._manager: StreamableHTTPSessionManager | None = None
        endpoint = Route("/{server}/mcp", endpoint=_Endpoint(self))
        self.app = Starlette(routes=[endpoint], lifespan=lambda _: self.run())

    @contextlib.asynccontextmanager
    async def run(self) -> AsyncIterator[None]:
        """Serve until the block ends; then every session is closed."""
        server: Server[Any] = Server(
            "sop-fleet",
            version=__version__,
            on_list_tools=self._list_tools,
            on_call_tool=self._call_tool,
            get_tool_input_schema=_nothing_in_headers,
        )
        self._manager = StreamableHTTPSessionManager(server, json_response=True, stateless=True)
        async with self._manager.run():
            sweeper = asyncio.create_task(self._sweep(), name="fleet sweep")
            try:
                yield
            finally:
                self._manager = None
                sweeper.cancel()
                await self.calls.sessions.close()

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request for a server's endpoint."""
        request = Request(scope)
        server = request.path_params["server"]
        refusal, caller = await self._admitted(request, server)
        if caller is None or self._manager is None:
            answer = refusal or _refusal(503, "The gateway is not running.")
            await answer(scope, receive, send)
            return
        await self._manager.handle_request({**scope, _CALL: (caller, server)}, receive, send)

    async def _admitted(self, request: Request, server: str) -> tuple[Response | None, Caller | None]:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        caller = await self._verify(token.strip()) if scheme.lower() == "bearer" and token else None
        if caller is None:
            return _refusal(401, "A valid token of a running attempt is needed.", {"WWW-Authenticate": "Bearer"}), None
        if not allowed_tools(caller, server):
            await self.calls.refuse(caller, server)
            return _refusal(403, f"The SOP has no data source on the server `{server}`."), None
        return None, caller

    async def _list_tools(
        self, context: ServerRequestContext[Any, Request], _: PaginatedRequestParams | None
    ) -> ListToolsResult:
        caller, server = _call_of(context)
        try:
            return ListToolsResult(tools=await self.calls.tools(caller, server))
        except CallFailedError as failure:
            raise MCPError(INTERNAL_ERROR, failure.message, {"code": failure.code}) from failure

    async def _call_tool(
        self, context: ServerRequestContext[Any, Request], params: CallToolRequestParams
    ) -> CallToolResult:
        caller, server = _call_of(context)
        return await self.calls.call(caller, server, params.name, params.arguments or {}, dict(context.meta or {}))

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(_SWEEP_SECONDS)
            try:
                await self.calls.sessions.sweep()
            except Exception:
                _LOG.exception("Idle sessions could not be closed; they are looked at again in a minute")


class _Endpoint:
    """An object, not a function: Starlette hands the bare request only to what is no function."""

    def __init__(self, gateway: FleetGateway) -> None:
        self._gateway = gateway

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._gateway.handle(scope, receive, send)


def _nothing_in_headers(_tool: str) -> None:
    """Say that no argument of a tool stands in a header (``Mcp-Param-*``): `Calls` checks the arguments of the body.

    Asked for nothing, the library would list the server's tools before each call: a query for each definition's
    snapshot, and for the circuit breaker a request that nobody made.
    """


def _call_of(context: ServerRequestContext[Any, Request]) -> tuple[Caller, str]:
    assert context.request is not None
    found: tuple[Caller, str] = context.request.scope[_CALL]
    return found


def _refusal(status: int, text: str, headers: dict[str, str] | None = None) -> Response:
    return JSONResponse({"detail": text}, status_code=status, headers=headers)
