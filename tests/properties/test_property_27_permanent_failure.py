"""Feature: execution-engine, Property 27: Permanent failure

A permanent failure ends the step at once, on whatever attempt, with its details recorded and no retry.
"""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_sop_provider.contract import ErrorType, Verdict, VerdictError
from airflow_sop_provider.engine.failures import Evidence, classify
from airflow_sop_provider.engine.retries import RetryPolicy

PERMANENT = st.one_of(
    st.sampled_from([65, 69, 77, 78]).map(lambda code: Evidence(exit_code=code)),
    st.sampled_from(["InvalidImageName", "ImageNotFound", "ErrImageNeverPull"]).map(
        lambda reason: Evidence(reason=reason, started=False)
    ),
    st.sampled_from([400, 404, 422]).map(lambda status: Evidence(api_status=status, started=False)),
    st.sampled_from(["a required output is missing", "äöü", "x" * 5000]).map(
        lambda message: Evidence(
            exit_code=69,
            verdict=Verdict(
                status="failed",
                error=VerdictError(type=ErrorType.PERMANENT, code="outputs-schema", message=message),
            ),
        )
    ),
)


@settings(max_examples=200)
@given(PERMANENT, st.integers(1, 20), st.integers(0, 10))
def test_permanent_failures_are_not_retried(evidence: Evidence, attempt: int, max_retries: int) -> None:
    failure = classify(evidence)
    assert failure is not None
    assert failure.type is ErrorType.PERMANENT
    decision = RetryPolicy().decide(failure.type, attempt, max_retries)
    assert (decision.action, decision.delay_seconds, decision.memory_bytes) == ("fail", 0, None)
    seen = evidence.exit_code or evidence.reason or evidence.api_status
    assert seen in failure.evidence.values()
    assert failure.message
