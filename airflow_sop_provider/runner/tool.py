"""The kind ``tool``: one call to a server of the fleet.

What costs little and can refuse comes first: whether the SOP allows the tool, then the
arguments. The MCP client, which takes a second or more to import, is loaded last.
"""

from __future__ import annotations

import gc
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow_sop_provider.contract.engine_access import TOKEN_FILE, access_event, fleet_address
from airflow_sop_provider.runner.failures import StepFailureError, bad_configuration, not_allowed
from airflow_sop_provider.runner.step_context import StepContext, ToolCaller
from airflow_sop_provider.runner.values import check_size, digest, to_json

if TYPE_CHECKING:
    from airflow_sop_provider.fleet.registry import HttpServer, StdioServer

__all__ = ["DEFAULT_TIMEOUT", "call_timeout", "run_tool", "server_of"]

DEFAULT_TIMEOUT = 300.0
"""Seconds for a call when neither the server nor the step sets a limit."""


def run_tool(context: StepContext) -> Any:
    """Call the step's tool and return its result.

    :raises StepFailureError: exit 77 if the SOP does not allow the tool; 78 if the fleet has no such
        server or the server no such tool; 65 for arguments or results that do not fit; 75 if the server
        could not answer; 69 if the tool itself failed.
    """
    server_name, tool = _allowed(context)
    arguments = to_json(context.render(context.step.get("arguments") or {}, "arguments"), "arguments")
    context.action("tool", f"Calling {server_name}.{tool}", server=server_name, tool=tool)
    call = context.call or _gateway_caller(context) or _own_caller(context, server_name)
    started = time.monotonic()
    error: StepFailureError | None = None
    result: Any = None
    try:
        result = call(server_name, tool, arguments, context.assignment.payload.timeout_seconds)
    except StepFailureError as failure:
        error = failure
        raise
    finally:
        _record_access(context, server_name, tool, arguments, time.monotonic() - started, result, error)
    return result


def _allowed(context: StepContext) -> tuple[str, str]:
    data_source, _, tool = str(context.step["tool"]).partition(".")
    source = context.assignment.payload.data_sources.get(data_source)
    if source is None or tool not in source.get("tools", ()):
        raise not_allowed(
            "tool-not-allowed",
            f"The SOP does not allow `{data_source}.{tool}`. Add the tool to its `data_sources` if it should.",
        )
    return source["server"], tool


def server_of(path: Path | None, name: str) -> StdioServer | HttpServer:
    """Return a server of the fleet.

    :raises StepFailureError: exit 78 if there is no fleet, or no such server in it.
    """
    from airflow_sop_provider.fleet.registry import FleetError, load_fleet

    if path is None:
        raise bad_configuration(
            "no-fleet", "SOP_FLEET is not set: it names the fleet.yaml that tools are looked up in."
        )
    try:
        return load_fleet(path).server(name)
    except FleetError as error:
        raise bad_configuration("fleet", str(error)) from error


def _gateway_caller(context: StepContext) -> ToolCaller | None:
    """Return what calls through the engine's gateway, None if this container was given no engine."""
    if fleet_address(os.environ) is None:
        return None
    from airflow_sop_provider.runner.gateway_call import gateway_from  # HTTP: only steps that use it pay for it

    gateway = gateway_from(os.environ)
    if gateway is None:
        raise bad_configuration("no-token", f"{TOKEN_FILE} is not set: it names the file with the attempt's token.")
    retries = context.assignment.payload.max_retries
    return lambda server, tool, arguments, limit: gateway.call(server, tool, arguments, call_timeout(limit), retries)


def _own_caller(context: StepContext, name: str) -> ToolCaller:
    """Return what opens a connection to the server for the one call of this attempt."""
    server = server_of(context.fleet, name)

    def call(server_name: str, tool: str, arguments: dict[str, Any], limit: float | None) -> Any:
        gc.disable()  # importing MCP makes many objects and no garbage; collecting meanwhile doubles the CPU time
        from airflow_sop_provider.runner.mcp_call import call_tool

        gc.enable()
        return call_tool(context, server_name, server, tool, arguments, call_timeout(server.timeout, limit))

    return call


def call_timeout(*limits: float | None) -> float:
    """Return the smallest of the limits of one call, seconds; `DEFAULT_TIMEOUT` where there is none."""
    return min((limit for limit in limits if limit), default=DEFAULT_TIMEOUT)


def _record_access(
    context: StepContext,
    server: str,
    tool: str,
    arguments: dict[str, Any],
    seconds: float,
    result: Any,
    error: StepFailureError | None,
) -> None:
    """Log the access whether or not it succeeded: digests prove what was asked and answered, and leak neither."""
    fields: dict[str, Any] = {"server": server, "tool": tool, "arguments_digest": digest(arguments)}
    fields["duration_seconds"] = round(seconds, 3)
    if error is None:
        fields |= {"ok": True, "result_digest": digest(result), "bytes": check_size(result, limit=2**63)}
    else:
        fields |= {"ok": False, "code": error.code}
    context.events.emit("data.access" if context.call else access_event(os.environ), **fields)
    context.log.info(f"{server}.{tool} {'answered' if error is None else 'failed'}", **fields)
