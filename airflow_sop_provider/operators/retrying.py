"""How a failure of a step reaches Airflow's task runner: with its exact delay and reason.

The decision is `engine.retries`'; Airflow asks the task's retry policy after an exception, so the
exception carries the decision to the policy.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow.sdk import RetryDecision, RetryPolicy
from airflow.sdk.exceptions import AirflowException

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_sop_provider.engine.retries import Decision

__all__ = ["StepFailedError", "StepRetryPolicy"]


class StepFailedError(AirflowException):
    """A step's attempt failed and is to be tried again.

    :param decision: when, and why.
    """

    def __init__(self, message: str, decision: Decision) -> None:
        super().__init__(message)
        self.decision = decision


class StepRetryPolicy(RetryPolicy):
    """Retries a step after the delay that was decided for this very failure."""

    def evaluate(
        self, exception: BaseException, try_number: int, max_tries: int, context: Context | None = None
    ) -> RetryDecision:
        """Return the decision the exception carries; other exceptions follow the task's own settings."""
        if not isinstance(exception, StepFailedError):
            return RetryDecision.default()
        decision = exception.decision
        return RetryDecision.retry(timedelta(seconds=decision.delay_seconds), decision.reason)

    def serialize(self) -> dict[str, Any]:
        """Return nothing: the policy has no settings."""
        return {}

    @classmethod
    def deserialize(cls, data: dict[str, Any]) -> RetryPolicy:
        """Return the policy."""
        return cls()
