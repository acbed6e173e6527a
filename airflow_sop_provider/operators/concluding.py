"""From what was seen of an attempt to what Airflow is told: outputs, skipped, retry or failed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn

from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException

from airflow_sop_provider.engine.failures import Failure, classify
from airflow_sop_provider.engine.retries import Decision, RetryPolicy
from airflow_sop_provider.operators.assigning import MEMORY_KEY, retry_number
from airflow_sop_provider.operators.retrying import StepFailedError
from airflow_sop_provider.runtimes.base import RuntimeFailedError

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_sop_provider.contract.assignment import Assignment
    from airflow_sop_provider.runtimes.base import Outcome

__all__ = ["conclude"]


def conclude(outcome: Outcome | RuntimeFailedError, assignment: Assignment, context: Context) -> Any:
    """Return the outputs of an attempt that succeeded.

    :raises AirflowSkipException: the step's condition was false.
    :raises AirflowFailException: it failed for good.
    :raises StepFailedError: it failed and is to be tried again.
    """
    failure = classify(outcome)
    if failure is not None:
        _fail(failure, assignment, context)
    verdict = None if isinstance(outcome, RuntimeFailedError) else outcome.verdict
    assert verdict is not None, "what has no verdict is a failure"
    if verdict.status == "skipped":
        raise AirflowSkipException(verdict.reason or "the step's condition is false")
    return verdict.outputs


def _fail(failure: Failure, assignment: Assignment, context: Context) -> NoReturn:
    decision = _decide(failure, assignment, context)
    message = f"{failure.type.value} failure ({failure.code}): {failure.message}"
    if decision.action == "fail":
        raise AirflowFailException(f"{message}. {decision.reason}")
    if decision.memory_bytes is not None and (store := context.get("task_state_store")) is not None:
        store.set(MEMORY_KEY, decision.memory_bytes)
    raise StepFailedError(message, decision)


def _decide(failure: Failure, assignment: Assignment, context: Context) -> Decision:
    payload, ti = assignment.payload, context["ti"]
    return RetryPolicy().decide(
        failure.type,
        retry_number(assignment.key.attempt, ti.max_tries, payload.max_retries),
        payload.max_retries,
        memory_bytes=payload.memory_bytes if failure.scarce == "memory" else None,
        max_memory_bytes=payload.max_memory_bytes,
    )
