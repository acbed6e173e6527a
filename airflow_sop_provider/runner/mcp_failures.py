"""A failed MCP call as a step's failure; the table itself is the fleet's, which the gateway reads as well."""

from __future__ import annotations

from airflow_sop_provider.fleet.call_failures import HttpTap, failure_of, leaves
from airflow_sop_provider.runner.failures import StepFailureError

__all__ = ["HttpTap", "classify"]


def classify(error: BaseException, server: str, tap: HttpTap, timeout: float) -> StepFailureError:
    """Return the step's failure for whatever an MCP call raised.

    :param timeout: the limit of the call in seconds, for the message.
    """
    for cause in leaves(error):
        if isinstance(cause, StepFailureError):
            return cause
    found = failure_of(error, server, tap, timeout)
    return StepFailureError(found.error_type, found.exit_code, found.code, found.message, found.details)
