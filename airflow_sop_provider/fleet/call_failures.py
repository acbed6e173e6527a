"""Why an MCP call failed, as an error type: the one table for transport, protocol and HTTP failures.

The runner (which may call a server itself) and the gateway both read it, so that a server's failure means the same
on either way. The MCP client hides the HTTP status behind one generic protocol error, so the status is noted
as responses pass by. It is looked at only after a failure: MCP's own negotiation begins with
requests that older servers answer with 4xx.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx2
from mcp.client.auth import OAuthFlowError
from mcp.shared.exceptions import MCPError
from mcp.types import (
    CONNECTION_CLOSED,
    INTERNAL_ERROR,
    INVALID_PARAMS,
    METHOD_NOT_FOUND,
    REQUEST_TIMEOUT,
)
from pydantic import ValidationError

from airflow_sop_provider.contract.exit_codes import ErrorType, ExitCode

__all__ = ["CallFailedError", "HttpTap", "failure_of", "leaves", "permanent", "too_large", "unavailable"]

_SESSION_TERMINATED = "Session terminated"  # the client's words for a 404 within a session: the server restarted
_NOTHING_HAPPENED = frozenset({429, 503})
"""Statuses by which a server says that it did not begin."""


class CallFailedError(Exception):
    """A call failed in a way that is understood.

    :param code: short stable identifier.
    :param message: what happened and what to do about it.
    :param details: evidence; JSON values only, no secrets.
    :param unavailable: the server could not answer: retried, and a failure for its circuit breaker.
    :param may_have_acted: whether the server may have begun, so that calling again could act twice.
    """

    def __init__(
        self,
        error_type: ErrorType,
        exit_code: int,
        code: str,
        message: str,
        details: dict[str, Any] | None = None,
        *,
        unavailable: bool = False,
        may_have_acted: bool = False,
    ) -> None:
        super().__init__(message)
        self.error_type = error_type
        self.exit_code = int(exit_code)
        self.code = code
        self.message = message
        self.details = details or {}
        self.unavailable = unavailable
        self.may_have_acted = may_have_acted


def permanent(exit_code: ExitCode, code: str, message: str, **details: Any) -> CallFailedError:
    """Return a failure that trying again does not heal."""
    return CallFailedError(ErrorType.PERMANENT, exit_code, code, message, details)


def unavailable(code: str, message: str, *, acted: bool = False, **details: Any) -> CallFailedError:
    """Return a failure of a server that could not answer.

    :param acted: whether it may have begun.
    """
    return CallFailedError(
        ErrorType.TRANSIENT, ExitCode.TRANSIENT, code, message, details, unavailable=True, may_have_acted=acted
    )


def too_large(server: str, limit: int) -> CallFailedError:
    """Return the failure of an answer that is larger than ``limit`` bytes."""
    text = f"`{server}` answered more than {limit:,} bytes. Ask for less, or raise its `max_bytes` in fleet.yaml."
    return permanent(ExitCode.BAD_DATA, "mcp-result-too-large", text, limit=limit)


class HttpTap:
    """Remembers the HTTP status of the last message sent, None if it was accepted or none was sent.

    :ivar too_large: bytes after which reading an answer was given up, None if none was.
    """

    def __init__(self) -> None:
        self.status: int | None = None
        self.too_large: int | None = None

    async def response(self, response: httpx2.Response) -> None:
        """Hook for every response of an HTTP client."""
        if response.request.method == "POST":  # GET opens a stream that many servers do not offer
            self.status = response.status_code if response.is_error else None


def failure_of(error: BaseException, server: str, tap: HttpTap, timeout: float) -> CallFailedError:
    """Return the failure for whatever an MCP call raised.

    :param timeout: the limit of the call in seconds, for the message.
    """
    causes = list(leaves(error))
    for cause in causes:
        if isinstance(cause, CallFailedError):
            return cause
    if tap.too_large is not None:
        return too_large(server, tap.too_large)
    for cause in causes:
        found = _of_cause(cause, server, tap, timeout)
        if found is not None:
            return found
    cause = causes[0]
    text = f"`{server}` broke the MCP protocol: {cause} ({type(cause).__name__}). Correct the server."
    return permanent(ExitCode.BAD_DATA, "mcp-protocol", text[:1000])


def leaves(error: BaseException) -> Iterator[BaseException]:
    """Yield what task groups wrapped, innermost first in order of occurrence."""
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from leaves(inner)
    else:
        yield error


def _of_cause(cause: BaseException, server: str, tap: HttpTap, timeout: float) -> CallFailedError | None:
    if isinstance(cause, MCPError):
        return _of_protocol_error(cause, server, tap, timeout)
    if isinstance(cause, httpx2.ConnectError | httpx2.ConnectTimeout):
        return unavailable("mcp-unreachable", f"`{server}` cannot be reached: {cause or type(cause).__name__}.")
    if isinstance(cause, TimeoutError | httpx2.TimeoutException):
        return _timed_out(server, timeout)
    if isinstance(cause, httpx2.TransportError | OSError):
        text = f"`{server}` cannot be reached: {cause or type(cause).__name__}."
        return unavailable("mcp-unreachable", text, acted=True)
    if isinstance(cause, OAuthFlowError):
        text = f"`{server}`: no token from its authorization server: {cause}. Check its `credentials`."
        return permanent(ExitCode.NOT_ALLOWED, "mcp-oauth", text)
    if (
        isinstance(cause, ValidationError) or type(cause) is RuntimeError
    ):  # the client's word for results that do not fit
        text = f"`{server}` answered what its own schema forbids: {str(cause)[:500]}"
        return permanent(ExitCode.BAD_DATA, "mcp-invalid-result", text)
    return None


def _of_protocol_error(error: MCPError, server: str, tap: HttpTap, timeout: float) -> CallFailedError | None:
    if tap.status is not None and error.message != _SESSION_TERMINATED:
        return _of_status(tap.status, server)
    code = error.code
    if code == REQUEST_TIMEOUT:
        return _timed_out(server, timeout)
    if code == CONNECTION_CLOSED or error.message == _SESSION_TERMINATED:
        text = f"`{server}` closed the connection before it answered: {error.message}."
        return unavailable("mcp-connection-closed", text, acted=error.message != _SESSION_TERMINATED)
    if code == INTERNAL_ERROR:
        text = f"`{server}` reports an internal error: {error.message}."
        return unavailable("mcp-internal-error", text, acted=True)
    if code == INVALID_PARAMS:
        text = f"`{server}` refuses the arguments: {error.message}."
        return permanent(ExitCode.BAD_DATA, "mcp-invalid-arguments", text)
    if code == METHOD_NOT_FOUND:
        text = f"`{server}` offers no tools: {error.message}."
        return permanent(ExitCode.BAD_CONFIGURATION, "mcp-unknown-method", text)
    return None


def _of_status(status: int, server: str) -> CallFailedError:
    code = f"mcp-http-{status}"
    if status in (408, 429) or status >= 500:
        text = f"`{server}` answered HTTP {status}."
        return unavailable(code, text, acted=status not in _NOTHING_HAPPENED, status=status)
    if status in (401, 403):
        text = f"`{server}` refuses us: HTTP {status}. Check its credentials in fleet.yaml."
        return permanent(ExitCode.NOT_ALLOWED, code, text, status=status)
    text = f"`{server}` answered HTTP {status}. Check its `url` in fleet.yaml."
    return permanent(ExitCode.BAD_CONFIGURATION, code, text, status=status)


def _timed_out(server: str, timeout: float) -> CallFailedError:
    text = f"`{server}` did not answer within {timeout:g} s."
    return unavailable("mcp-timeout", text, acted=True, timeout_seconds=timeout)
