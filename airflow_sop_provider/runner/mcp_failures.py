"""A failed MCP call as a step's failure; the table itself is the fleet's, which the gateway reads as well."""

from __future__ import annotations

from collections.abc import Iterator

from airflow_sop_provider.fleet.call_failures import HttpTap, failure_of
from airflow_sop_provider.runner.failures import StepFailureError

__all__ = ["HttpTap", "classify"]


def classify(error: BaseException, server: str, tap: HttpTap, timeout: float) -> StepFailureError:
    """Return the step's failure for whatever an MCP call raised.

    :param timeout: the limit of the call in seconds, for the message.
    """
    for cause in _leaves(error):
        if isinstance(cause, StepFailureError):
            return cause
    found = failure_of(error, server, tap, timeout)
    return StepFailureError(found.error_type, found.exit_code, found.code, found.message, found.details)


def _leaves(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from _leaves(inner)
    else:
        yield error
