"""A tool call through the engine's gateway: one HTTP request, with nothing but the standard library.

MCP's version 2026-07-28 makes a call one POST without a handshake, and the gateway speaks it. The official client
would do the same after an import that costs more CPU than all the rest of a tool step, so it is not used for this one
message; the gateway's tests hold this form against the official server, and the official client against the gateway.
The token is read anew for every call, because it is renewed while the attempt runs.
"""

from __future__ import annotations

import http.client
import json
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from airflow_sop_provider import __version__
from airflow_sop_provider.contract.engine_access import TOKEN_FILE, fleet_address
from airflow_sop_provider.contract.exit_codes import ErrorType, ExitCode
from airflow_sop_provider.contract.fleet_calls import (
    ERROR_META,
    ERROR_TYPE_META,
    GATEWAY_PATH,
    MAX_RETRIES_META,
    ORDINAL_META,
    PROTOCOL_VERSION,
)
from airflow_sop_provider.runner.failures import (
    StepFailureError,
    bad_configuration,
    bad_data,
    not_allowed,
    transient,
)
from airflow_sop_provider.runner.values import to_json

__all__ = ["GatewayCaller", "gateway_from"]

_RETRY_SECONDS = 1.0 + 2.0 + 4.0
"""What the gateway may wait between its tries, on top of them."""

_LARGEST_ANSWER = 64 * 1024 * 1024


def gateway_from(environ: Mapping[str, str]) -> GatewayCaller | None:
    """Return the caller for the gateway that the environment names, None if it names none."""
    url, token = fleet_address(environ), environ.get(TOKEN_FILE)
    return GatewayCaller(url, Path(token)) if url and token else None


class GatewayCaller:
    """Calls tools through the gateway.

    :param url: the gateway's address.
    :param token_file: holds the attempt's token.
    """

    def __init__(self, url: str, token_file: Path) -> None:
        self._url = url.rstrip("/")
        self._token_file = token_file
        self._calls: dict[str, int] = {}

    def call(
        self,
        server: str,
        tool: str,
        arguments: dict[str, Any],
        timeout: float,
        max_retries: int,
        *,
        ordinal: int | None = None,
    ) -> Any:
        """Return the tool's result: structured if it has one, else its text as JSON, else its text.

        :param timeout: seconds for one answer of the server; the gateway's waits come on top.
        :param max_retries: retries that the step allows; the gateway makes at most three.
        :param ordinal: the how-manieth call with these arguments this is in its step, from 0; None: counted here.
        :raises StepFailureError: every way it can fail, classified.
        """
        if ordinal is None:
            ordinal = self._next_ordinal(server, tool, arguments)
        meta = {ORDINAL_META: ordinal, MAX_RETRIES_META: max_retries}
        answer = self._post(server, _request(tool, arguments, meta), tool, timeout + _RETRY_SECONDS)
        return _value(answer, server, tool)

    def _next_ordinal(self, server: str, tool: str, arguments: dict[str, Any]) -> int:
        repeated = json.dumps([server, tool, arguments], sort_keys=True)
        ordinal = self._calls.get(repeated, 0)
        self._calls[repeated] = ordinal + 1
        return ordinal

    def _post(self, server: str, message: dict[str, Any], tool: str, timeout: float) -> Any:
        request = urllib.request.Request(  # noqa: S310 - the address is the engine's, from the container's contract
            self._url + GATEWAY_PATH.format(server=quote(server, safe="")),
            data=json.dumps(message).encode(),
            headers={
                "Authorization": f"Bearer {self._token()}",
                "Content-Type": "application/json",
                "Accept": "application/json, text/event-stream",
                "MCP-Protocol-Version": PROTOCOL_VERSION,
                "Mcp-Method": "tools/call",
                "Mcp-Name": tool,
            },
        )
        try:
            with urllib.request.urlopen(request, timeout=timeout) as response:  # noqa: S310 - as above
                body = response.read(_LARGEST_ANSWER + 1)
        except urllib.error.HTTPError as error:
            raise _of_status(error.code, server, error.read(2000)) from error
        except TimeoutError as error:
            raise transient("gateway-timeout", f"The engine did not answer within {timeout:g} s.") from error
        except (OSError, http.client.HTTPException) as error:
            raise transient("gateway-unreachable", f"The engine cannot be reached: {error}.") from error
        try:
            return json.loads(body)
        except ValueError as error:
            raise transient("gateway-protocol", "The engine's answer is no JSON.") from error

    def _token(self) -> str:
        try:
            return self._token_file.read_text(encoding="ascii").strip()
        except (OSError, UnicodeError) as error:
            raise bad_configuration("no-token", f"The attempt's token cannot be read: {error}") from error


def _request(tool: str, arguments: dict[str, Any], meta: dict[str, Any]) -> dict[str, Any]:
    envelope = {
        "io.modelcontextprotocol/protocolVersion": PROTOCOL_VERSION,
        "io.modelcontextprotocol/clientCapabilities": {},
        "io.modelcontextprotocol/clientInfo": {"name": "airflow-sop-runner", "version": __version__},
    }
    params = {"name": tool, "arguments": arguments, "_meta": {**envelope, **meta}}
    return {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}


def _of_status(status: int, server: str, body: bytes) -> StepFailureError:
    text = f"The engine answered HTTP {status} to a call of `{server}`: {body.decode(errors='replace')[:500]}"
    code = f"gateway-http-{status}"
    if status in (401, 403):
        return not_allowed(code, text, status=status)
    if status in (408, 429) or status >= 500:
        return transient(code, text, status=status)
    return bad_configuration(code, text, status=status)


def _value(answer: Any, server: str, tool: str) -> Any:
    result = answer.get("result") if isinstance(answer, dict) else None
    if not isinstance(result, dict):
        message = answer.get("error", {}).get("message", "") if isinstance(answer, dict) else ""
        raise transient("gateway-protocol", f"The engine did not carry out the call of `{server}.{tool}`: {message}")
    texts = [block["text"] for block in result.get("content", ()) if block.get("type") == "text"]
    if result.get("isError"):
        raise _failure(result.get("_meta") or {}, server, tool, "\n".join(texts))
    if result.get("structuredContent") is not None:
        return to_json(result["structuredContent"], "result")
    if result.get("content") and not texts:
        kinds = ", ".join(sorted({str(block.get("type")) for block in result["content"]}))
        raise bad_data(
            "mcp-unsupported-content", f"`{server}.{tool}` answered with {kinds} only; a step needs JSON or text."
        )
    text = "\n".join(texts)
    try:
        return to_json(json.loads(text), "result")
    except (ValueError, RecursionError):
        return text


def _failure(meta: dict[str, Any], server: str, tool: str, text: str) -> StepFailureError:
    what = meta.get(ERROR_META)
    if isinstance(what, dict):
        details = what.get("details") or {}
        return StepFailureError(ErrorType(what["type"]), int(what["exit_code"]), str(what["code"]), text, details)
    is_transient = meta.get(ERROR_TYPE_META) == ErrorType.TRANSIENT
    return StepFailureError(
        ErrorType.TRANSIENT if is_transient else ErrorType.PERMANENT,
        ExitCode.TRANSIENT if is_transient else ExitCode.NOT_RETRYABLE,
        "mcp-tool-error",
        f"`{server}.{tool}` failed: {text[:1000] or 'it gave no reason'}",
        {"server": server, "tool": tool},
    )
