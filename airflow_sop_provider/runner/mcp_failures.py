"""Why an MCP call failed, as an error type: the one table for transport, protocol and HTTP failures.

The MCP client hides the HTTP status behind one generic protocol error, so the status is noted
as responses pass by. It is looked at only after a failure: MCP's own negotiation begins with
requests that older servers answer with 4xx.
"""

from __future__ import annotations

from collections.abc import Iterator

import httpx2
from mcp.shared.exceptions import MCPError
from mcp.types import (
    CONNECTION_CLOSED,
    INTERNAL_ERROR,
    INVALID_PARAMS,
    METHOD_NOT_FOUND,
    REQUEST_TIMEOUT,
)
from pydantic import ValidationError

from airflow_sop_provider.runner.failures import (
    StepFailureError,
    bad_configuration,
    bad_data,
    not_allowed,
    transient,
)

__all__ = ["HttpTap", "classify"]

_SESSION_TERMINATED = "Session terminated"  # the client's words for a 404 within a session: the server restarted


class HttpTap:
    """Remembers the HTTP status of the last message sent, None if it was accepted or none was sent."""

    def __init__(self) -> None:
        self.status: int | None = None

    async def response(self, response: httpx2.Response) -> None:
        """Hook for every response of an HTTP client."""
        if response.request.method == "POST":  # GET opens a stream that many servers do not offer
            self.status = response.status_code if response.is_error else None


def classify(error: BaseException, server: str, tap: HttpTap, timeout: float) -> StepFailureError:
    """Return the step's failure for whatever an MCP call raised.

    :param timeout: the limit of the call in seconds, for the message.
    """
    causes = list(_leaves(error))
    for cause in causes:
        if isinstance(cause, StepFailureError):
            return cause
    for cause in causes:
        found = _of_cause(cause, server, tap, timeout)
        if found is not None:
            return found
    cause = causes[0]
    return bad_data(
        "mcp-protocol", f"`{server}` broke the MCP protocol: {cause} ({type(cause).__name__}). Correct the server."
    )


def _leaves(error: BaseException) -> Iterator[BaseException]:
    """Yield what task groups wrapped, innermost first in order of occurrence."""
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from _leaves(inner)
    else:
        yield error


def _of_cause(cause: BaseException, server: str, tap: HttpTap, timeout: float) -> StepFailureError | None:
    if isinstance(cause, MCPError):
        return _of_protocol_error(cause, server, tap, timeout)
    if isinstance(cause, TimeoutError | httpx2.TimeoutException):
        return _timed_out(server, timeout)
    if isinstance(cause, httpx2.TransportError | OSError):
        return transient("mcp-unreachable", f"`{server}` cannot be reached: {cause or type(cause).__name__}.")
    if (
        isinstance(cause, ValidationError) or type(cause) is RuntimeError
    ):  # the client's word for results that do not fit
        return bad_data("mcp-invalid-result", f"`{server}` answered what its own schema forbids: {str(cause)[:500]}")
    return None


def _of_protocol_error(error: MCPError, server: str, tap: HttpTap, timeout: float) -> StepFailureError | None:
    if tap.status is not None and error.message != _SESSION_TERMINATED:
        return _of_status(tap.status, server)
    code = error.code
    if code == REQUEST_TIMEOUT:
        return _timed_out(server, timeout)
    if code == CONNECTION_CLOSED or error.message == _SESSION_TERMINATED:
        return transient(
            "mcp-connection-closed", f"`{server}` closed the connection before it answered: {error.message}."
        )
    if code == INTERNAL_ERROR:
        return transient("mcp-internal-error", f"`{server}` reports an internal error: {error.message}.")
    if code == INVALID_PARAMS:
        return bad_data("mcp-invalid-arguments", f"`{server}` refuses the arguments: {error.message}.")
    if code == METHOD_NOT_FOUND:
        return bad_configuration("mcp-unknown-method", f"`{server}` offers no tools: {error.message}.")
    return None


def _of_status(status: int, server: str) -> StepFailureError:
    code = f"mcp-http-{status}"
    if status == 429 or status >= 500:
        return transient(code, f"`{server}` answered HTTP {status}.", status=status)
    if status in (401, 403):
        return not_allowed(
            code, f"`{server}` refuses us: HTTP {status}. Check its `headers` in fleet.yaml.", status=status
        )
    if status == 408:
        return transient(code, f"`{server}` answered HTTP {status}.", status=status)
    return bad_configuration(code, f"`{server}` answered HTTP {status}. Check its `url` in fleet.yaml.", status=status)


def _timed_out(server: str, timeout: float) -> StepFailureError:
    return transient("mcp-timeout", f"`{server}` did not answer within {timeout:g} s.", timeout_seconds=timeout)
