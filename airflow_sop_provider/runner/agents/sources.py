"""The data sources of an agent as ADK tools: one open connection to each MCP server, only the tools of the SOP.

Not ADK's `McpToolset`: that drops a server that is down, reads one page of the listing, tells the model of failures as
if they were answers, loses the HTTP status and gives each result twice. The runner's own client does none of it, so an
agent's calls fail exactly as those of a `tool` step.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from functools import partial
from pathlib import Path
from typing import Any

from google.adk.tools.base_tool import BaseTool
from google.adk.tools.tool_context import ToolContext
from google.genai import types
from mcp import Client
from mcp.types import Tool

from airflow_sop_provider.contract.engine_access import TOKEN_FILE, fleet_address
from airflow_sop_provider.contract.exit_codes import ErrorType
from airflow_sop_provider.contract.fleet_calls import GATEWAY_PATH
from airflow_sop_provider.fleet.registry import HttpServer, StdioServer
from airflow_sop_provider.runner.agents.work import Work
from airflow_sop_provider.runner.failures import StepFailureError, bad_configuration
from airflow_sop_provider.runner.gateway_call import GatewayCaller, gateway_from
from airflow_sop_provider.runner.mcp_call import connection, find_tool, result_value
from airflow_sop_provider.runner.mcp_failures import HttpTap, classify
from airflow_sop_provider.runner.tool import DEFAULT_TIMEOUT, server_of

__all__ = ["RETRY_SECONDS", "SourceTool", "open_sources"]

RETRY_SECONDS = (1.0, 2.0, 4.0)
"""Waits before a server that cannot be reached is tried again."""

_ANY = {"type": "object", "additionalProperties": True}


class SourceTool(BaseTool):
    """One tool of one data source.

    :param server: name of the MCP server.
    :param listed: the server's own description of the tool; None where somebody else makes the calls.
    """

    def __init__(
        self, work: Work, name: str, server: str, listed: Tool | None, through: Client | GatewayCaller | None
    ) -> None:
        self.source_tool = work.functions[name]
        self.server = server
        self.tool = self.source_tool.partition(".")[2]
        self.schema: dict[str, Any] = _ANY if listed is None else listed.input_schema
        self._work = work
        self._through = through
        self._hints = None if listed is None else listed.annotations
        super().__init__(name=name, description=(listed and listed.description) or self.source_tool)

    @property
    def remembered(self) -> bool:
        """Whether calls are remembered by their ordinal, so that one that was cut may be asked for again."""
        return isinstance(self._through, GatewayCaller)

    @property
    def effect(self) -> bool:
        """Whether a call may change something that repeating it would change again."""
        hints = self._hints
        return not (hints is not None and (hints.read_only_hint or hints.idempotent_hint))

    def _get_declaration(self) -> types.FunctionDeclaration:
        return types.FunctionDeclaration(
            name=self.name, description=self.description, parameters_json_schema=self.schema
        )

    async def run_async(self, *, args: dict[str, Any], tool_context: ToolContext) -> Any:
        """Call it.

        :raises StepFailureError: it failed, classified as a `tool` step's call is.
        """
        return await self.ask(args, self._work.ordinals.get(str(tool_context.function_call_id), 0))

    async def ask(self, args: dict[str, Any], ordinal: int) -> Any:
        """Call it, as `run_async`; through the gateway a call with an ordinal it knows is answered from its journal."""
        payload = self._work.context.assignment.payload
        limit = payload.timeout_seconds or DEFAULT_TIMEOUT
        through = self._through
        if through is None:
            assert self._work.context.call is not None
            return await asyncio.to_thread(self._work.context.call, self.server, self.tool, args, limit)
        if isinstance(through, GatewayCaller):
            ask = partial(through.call, ordinal=ordinal)
            return await asyncio.to_thread(ask, self.server, self.tool, args, limit, payload.max_retries)
        tap = HttpTap()
        try:
            async with asyncio.timeout(limit):
                return result_value(await through.call_tool(self.tool, args), self.server, self.tool)
        except Exception as error:
            raise classify(error, self.server, tap, limit) from error


async def open_sources(work: Work, stack: contextlib.AsyncExitStack) -> list[SourceTool]:
    """Connect to every data source and return its tools; the stack closes the connections.

    :raises StepFailureError: a server cannot be reached after three more tries, or lacks a tool.
    """
    by_tool = {tool: name for name, tool in work.functions.items()}
    found: list[SourceTool] = []
    gateway = None if work.context.call is not None else gateway_from(os.environ)
    for source, access in work.config.mcp_access.items():
        names = {tool: by_tool[f"{source}.{tool}"] for tool in access.tools}
        if work.context.call is not None:
            found += [SourceTool(work, name, access.server, None, None) for name in names.values()]
            continue
        client, listed = await _connected(work, access.server, access.tools, stack)
        through = gateway or client
        found += [SourceTool(work, names[tool], access.server, listed[tool], through) for tool in access.tools]
    return found


async def _connected(
    work: Work, name: str, tools: tuple[str, ...], stack: contextlib.AsyncExitStack
) -> tuple[Client, dict[str, Tool]]:
    for wait in (*RETRY_SECONDS, None):
        try:
            return await _connect(work, name, tools, stack)
        except StepFailureError as failure:
            if failure.error_type != ErrorType.TRANSIENT or wait is None:
                raise
            work.context.log.line("warning", f"{failure.message} Trying again in {wait:g} s.", server=name)
            await asyncio.sleep(wait)
    raise AssertionError("the last try raises")


async def _connect(
    work: Work, name: str, tools: tuple[str, ...], stack: contextlib.AsyncExitStack
) -> tuple[Client, dict[str, Tool]]:
    tap = HttpTap()
    server = _server(work, name)
    limit = server.timeout or DEFAULT_TIMEOUT
    try:
        async with contextlib.AsyncExitStack() as trying:
            async with asyncio.timeout(limit):
                client = await trying.enter_async_context(connection(work.context, name, server, limit, tap))
                listed = {tool: await find_tool(client, name, tool) for tool in tools}
            await stack.enter_async_context(trying.pop_all())
            return client, listed
    except Exception as error:
        raise classify(error, name, tap, limit) from error


def _server(work: Work, name: str) -> StdioServer | HttpServer:
    """Return where a server's tools are listed: at the engine's gateway, or at the server without an engine."""
    url, token = fleet_address(os.environ), os.environ.get(TOKEN_FILE)
    if not (url and token):
        return server_of(work.context.fleet, name)
    try:
        bearer = Path(token).read_text(encoding="ascii").strip()
    except (OSError, UnicodeError) as error:
        raise bad_configuration("no-token", f"The attempt's token cannot be read: {error}") from error
    work.context.redactor.add(bearer)
    headers = {"Authorization": f"Bearer {bearer}"}
    return HttpServer(transport="http", url=url + GATEWAY_PATH.format(server=name), headers=headers)
