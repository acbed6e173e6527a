"""What a call may do before it is made, and what its failure means afterwards: pure rules of the gateway."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from mcp.types import CallToolResult, TextContent, Tool

from airflow_sop_provider.contract.exit_codes import ErrorType, ExitCode
from airflow_sop_provider.contract.fleet_calls import MAX_RETRIES_META, ORDINAL_META
from airflow_sop_provider.contract.json_schemas import SchemaCheck, UnusableSchemaError
from airflow_sop_provider.fleet.call_failures import CallFailedError, permanent
from airflow_sop_provider.fleet.ports import Caller
from airflow_sop_provider.fleet.registry import HttpServer, StdioServer
from airflow_sop_provider.fleet.snapshots import digest_of

__all__ = [
    "RETRY_DELAYS",
    "allowed_tools",
    "check_arguments",
    "check_outputs",
    "exhausted",
    "idempotency_key",
    "is_read",
    "is_repeatable",
    "outcome_unknown",
    "retries_allowed",
]

RETRY_DELAYS = (1.0, 2.0, 4.0)
"""Seconds before each retry of a server that could not answer (Property 21)."""


def allowed_tools(caller: Caller, server: str) -> frozenset[str]:
    """Return the tools of a server that the caller's SOP names."""
    sources = [source for source in caller.data_sources.values() if source.get("server") == server]
    return frozenset(tool for source in sources for tool in source.get("tools", ()))


def is_read(tool: Tool) -> bool:
    """Return whether the server says that the tool changes nothing."""
    return tool.annotations is not None and bool(tool.annotations.read_only_hint)


def is_repeatable(tool: Tool, server: HttpServer | StdioServer) -> bool:
    """Return whether calling twice does no more than calling once."""
    hinted = tool.annotations is not None and bool(tool.annotations.idempotent_hint)
    return is_read(tool) or hinted or tool.name in server.idempotent_tools


def retries_allowed(meta: Mapping[str, Any]) -> int:
    """Return the retries that the step's author and we allow."""
    asked = meta.get(MAX_RETRIES_META)
    if not isinstance(asked, int) or asked < 0:
        return len(RETRY_DELAYS)
    return min(asked, len(RETRY_DELAYS))


def idempotency_key(
    caller: Caller, server: str, tool: str, arguments_digest: str, meta: Mapping[str, Any]
) -> str | None:
    """Return what names this call in every attempt of its step, None if the caller numbers no calls.

    All of it but the ordinal is known from the caller's token: nobody can name the call of another.
    """
    ordinal = meta.get(ORDINAL_META)
    if not isinstance(ordinal, int):
        return None
    whole = [caller.sop, caller.run_id, caller.step, caller.map_index, server, tool, arguments_digest, ordinal]
    return digest_of(whole)


def check_arguments(arguments: dict[str, Any], tool: Tool) -> None:
    """Refuse arguments that break the tool's input schema.

    :raises CallFailedError: 65 ``mcp-invalid-arguments``; 78 ``mcp-schema-invalid`` if the schema is none.
    """
    found = _violation(
        arguments, tool.input_schema, "mcp-schema-invalid", f"The input schema of the tool `{tool.name}` is"
    )  # fmt: skip
    if found is not None:
        path, message = found
        text = f"The tool `{tool.name}` refuses the arguments at `{path}`: {message}"
        raise permanent(ExitCode.BAD_DATA, "mcp-invalid-arguments", text, path=path)


def check_outputs(result: CallToolResult, schema: dict[str, Any], server: str, tool: str) -> None:
    """Refuse a result that is not what the SOP's `outputs` say.

    :raises CallFailedError: 65 ``outputs-schema``; 78 ``outputs-schema-invalid`` if the schema is none. The codes are
        those of the runner, which holds a step's outputs against the same schema.
    """
    found = _violation(_value(result), schema, "outputs-schema-invalid", "The step's `outputs` are")
    if found is not None:
        path, message = found
        text = f"The result of `{server}.{tool}` breaks the step's `outputs` at `{path}`: {message}"
        raise permanent(ExitCode.BAD_DATA, "outputs-schema", text, path=path)


def _violation(value: Any, schema: dict[str, Any], code: str, what: str) -> tuple[str, str] | None:
    """Return (JSON path, message) of what breaks a schema, None if the value fits.

    :raises CallFailedError: 78 (``code``) if the schema is none; ``what`` begins the sentence that says so.
    """
    try:
        return SchemaCheck(schema).violation(value)
    except UnusableSchemaError as error:
        text = f"{what} not a usable JSON Schema: {error}"
        raise permanent(ExitCode.BAD_CONFIGURATION, code, text[:1000]) from error


def _value(result: CallToolResult) -> Any:
    """Return what a step takes from a result: its structure, else its text as JSON, else its text."""
    if result.structured_content is not None:
        return result.structured_content
    text = "\n".join(block.text for block in result.content if isinstance(block, TextContent))
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def exhausted(failure: CallFailedError, retries: int) -> CallFailedError:
    """Return the failure after all retries: final, since the ones that a transient failure gets have been made."""
    if retries == 0:
        return failure
    text = f"{failure.message} It was tried again {retries} times."
    details = {**failure.details, "retries": retries}
    return CallFailedError(
        ErrorType.PERMANENT, ExitCode.NOT_RETRYABLE, failure.code, text, details, unavailable=True,
        may_have_acted=failure.may_have_acted,
    )  # fmt: skip


def outcome_unknown(server: str, tool: str, cause: str) -> CallFailedError:
    """Return the failure of a call that may have acted and must not be made again by a machine."""
    text = (
        f"Nobody knows whether `{server}.{tool}` was carried out ({cause}), so it is not called again. Look at the"
        " server; if repeating it does no harm, name it in the server's `idempotent_tools` in fleet.yaml."
    )
    return permanent(ExitCode.NOT_RETRYABLE, "mcp-outcome-unknown", text, cause=cause)
