"""One MCP call with the official client: connect, check tool and arguments, call, take the result, close.

MCP 2.x reports an unknown tool and unfit arguments as text for a model, like any failure of the
tool. A step must tell them apart (one is the SOP's fault, the other the data's), so tool and
arguments are checked against the server's own listing before the call.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import threading
from collections import deque
from collections.abc import AsyncIterator
from typing import Any

from mcp import Client, StdioServerParameters
from mcp.client import Transport
from mcp.client.stdio import stdio_client
from mcp.client.streamable_http import streamable_http_client
from mcp.types import CallToolResult, Implementation, TextContent, Tool

from airflow_sop_provider import __version__
from airflow_sop_provider.contract.exit_codes import ErrorType, ExitCode
from airflow_sop_provider.contract.fleet_calls import ERROR_TYPE_META
from airflow_sop_provider.fleet.credentials import Access, access_to
from airflow_sop_provider.fleet.http_client import http_client
from airflow_sop_provider.fleet.registry import HttpServer, MissingVariableError, StdioServer, resolve_variables
from airflow_sop_provider.runner.command import pump
from airflow_sop_provider.runner.failures import StepFailureError, bad_configuration, bad_data
from airflow_sop_provider.runner.mcp_failures import HttpTap, classify
from airflow_sop_provider.runner.outputs import violation
from airflow_sop_provider.runner.programs import guarded, inherited_environment
from airflow_sop_provider.runner.step_context import StepContext
from airflow_sop_provider.runner.values import to_json

__all__ = ["ERROR_TYPE_META", "call_on", "call_tool", "connection", "find_tool", "result_value"]


def call_tool(
    context: StepContext,
    name: str,
    server: StdioServer | HttpServer,
    tool: str,
    arguments: dict[str, Any],
    timeout: float,
) -> Any:
    """Return the tool's result: structured if it has one, else its text as JSON, else its text.

    :param timeout: seconds for everything, starting or connecting included.
    :raises StepFailureError: every way it can fail, classified (see `mcp_failures`).
    """
    tap = HttpTap()
    try:
        return asyncio.run(_call(context, name, server, tool, arguments, timeout, tap))
    except Exception as error:
        raise classify(error, name, tap, timeout) from error


async def _call(
    context: StepContext,
    name: str,
    server: StdioServer | HttpServer,
    tool: str,
    arguments: dict[str, Any],
    timeout: float,  # noqa: ASYNC109 - a limit from the SOP, enforced below
    tap: HttpTap,
) -> Any:
    async with asyncio.timeout(timeout), connection(context, name, server, timeout, tap) as client:
        return await call_on(client, name, tool, arguments)


@contextlib.asynccontextmanager
async def connection(
    context: StepContext,
    name: str,
    server: StdioServer | HttpServer,
    timeout: float,  # noqa: ASYNC109 - of each answer, enforced by the client
    tap: HttpTap,
) -> AsyncIterator[Client]:
    """Give a client that is connected to a server until the block ends.

    :param timeout: seconds that one answer may take.
    """
    async with _transport(context, name, server, tap) as transport:
        info = Implementation(name="airflow-sop-runner", version=__version__)
        async with Client(transport, read_timeout_seconds=timeout, client_info=info) as client:
            yield client


async def call_on(client: Client, name: str, tool: str, arguments: dict[str, Any]) -> Any:
    """Check and make one call on an open connection; the result as of `call_tool`."""
    _check_arguments(arguments, await find_tool(client, name, tool))
    return result_value(await client.call_tool(tool, arguments), name, tool)


@contextlib.asynccontextmanager
async def _transport(
    context: StepContext, name: str, server: StdioServer | HttpServer, tap: HttpTap
) -> AsyncIterator[Transport]:
    if isinstance(server, StdioServer):
        with _log_pipe(context, name) as descriptor, os.fdopen(descriptor, "w") as errors:
            yield stdio_client(_parameters(context, server), errlog=errors)
        return
    access = _access(context, server)
    async with http_client(server, access, tap) as client:
        yield streamable_http_client(server.url, http_client=client)


def _parameters(context: StepContext, server: StdioServer) -> StdioServerParameters:
    program, *arguments = guarded(server.command, list(server.args), "mcp-server-not-found")
    environment = {**inherited_environment(), **_secrets(context, server.env)}
    return StdioServerParameters(command=program, args=arguments, env=environment)


def _access(context: StepContext, server: HttpServer) -> Access:
    try:
        access = access_to(server)
    except MissingVariableError as error:
        raise bad_configuration("fleet-variable-missing", str(error)) from error
    context.redactor.add(*access.secrets)
    return access


def _secrets(context: StepContext, declared: dict[str, str]) -> dict[str, str]:
    try:
        resolved = resolve_variables(declared)
    except MissingVariableError as error:
        raise bad_configuration("fleet-variable-missing", str(error)) from error
    context.redactor.add(*(value for key, value in resolved.items() if value != declared[key]))
    return resolved


@contextlib.contextmanager
def _log_pipe(context: StepContext, name: str) -> Any:
    """Give the writing end of a pipe whose lines become lines of our log; the caller closes it."""
    reading, writing = os.pipe()
    thread = threading.Thread(
        target=pump,
        args=(os.fdopen(reading, "rb"), "warning", context, f"mcp:{name}", deque(maxlen=0)),
        daemon=True,
    )
    thread.start()
    yield writing
    thread.join(timeout=1.0)  # the server has ended; what it said last is in the pipe


async def find_tool(client: Client, name: str, tool: str) -> Tool:
    """Return the server's listing of a tool; all pages are read."""
    cursor: str | None = None
    known: list[str] = []
    while True:
        page = await client.list_tools(cursor=cursor)
        for listed in page.tools:
            if listed.name == tool:
                return listed
            known.append(listed.name)
        cursor = page.next_cursor
        if not cursor:
            break
    raise bad_configuration(
        "mcp-unknown-tool",
        f"The server `{name}` has no tool `{tool}` (it has: {', '.join(sorted(known)[:50]) or 'none'}). "
        "Correct the SOP or the server.",
    )


def _check_arguments(arguments: dict[str, Any], tool: Tool) -> None:
    what = f"The input schema of the tool `{tool.name}`"
    found = violation(arguments, tool.input_schema, code="mcp-schema-invalid", what=what)
    if found is not None:
        path, message = found
        raise bad_data(
            "mcp-invalid-arguments", f"The tool `{tool.name}` refuses the arguments at `{path}`: {message}", path=path
        )


def result_value(result: CallToolResult, name: str, tool: str) -> Any:
    """Return what a call came to: structured if it has it, else text as JSON, else text.

    :raises StepFailureError: the tool failed, or answered with neither.
    """
    texts = [block.text for block in result.content if isinstance(block, TextContent)]
    if result.is_error:
        raise _tool_failure(result, name, tool, "\n".join(texts))
    if result.structured_content is not None:
        return to_json(result.structured_content, "result")
    if result.content and not texts:
        kinds = ", ".join(sorted({block.type for block in result.content}))
        raise bad_data(
            "mcp-unsupported-content", f"`{name}.{tool}` answered with {kinds} only; a step needs JSON or text."
        )
    text = "\n".join(texts)
    try:
        return to_json(json.loads(text), "result")
    except (json.JSONDecodeError, RecursionError):
        return text


def _tool_failure(result: CallToolResult, name: str, tool: str, text: str) -> StepFailureError:
    transient = (result.meta or {}).get(ERROR_TYPE_META) == ErrorType.TRANSIENT
    return StepFailureError(
        ErrorType.TRANSIENT if transient else ErrorType.PERMANENT,
        ExitCode.TRANSIENT if transient else ExitCode.NOT_RETRYABLE,
        "mcp-tool-error",
        f"`{name}.{tool}` failed: {text[:1000] or 'it gave no reason'}",
        {"server": name, "tool": tool},
    )
