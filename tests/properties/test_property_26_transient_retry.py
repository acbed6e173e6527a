"""Feature: execution-engine, Property 26: Transient retry

A transient failure is retried after 1, 2, 4 s, at most three times; success on any try is success;
the number of retries is recorded in the reasons.
"""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_sop_provider.contract import ErrorType, Verdict, VerdictError
from airflow_sop_provider.engine.failures import Evidence, classify
from airflow_sop_provider.engine.retries import Decision, RetryPolicy

TRANSIENT = st.sampled_from(
    [
        Evidence(exit_code=75),
        Evidence(
            exit_code=75,
            verdict=Verdict(
                status="failed", error=VerdictError(type=ErrorType.TRANSIENT, code="mcp-timeout", message="slow")
            ),
        ),
        *(Evidence(api_status=status, started=False) for status in (409, 429, 500, 502, 503, 504)),
    ]
)


@settings(max_examples=200)
@given(st.lists(TRANSIENT, max_size=8))
def test_transient_failures_are_retried_with_doubling_delays(failures: list[Evidence]) -> None:
    attempts = [*failures, Evidence(exit_code=0, verdict=Verdict(status="succeeded"))]
    succeeded, decisions = _run(attempts)
    retries = [d for d in decisions if d.action == "retry"]
    assert succeeded == (len(failures) <= 3)
    assert len(retries) == min(len(failures), 3)
    assert [d.delay_seconds for d in retries] == [1, 2, 4][: len(retries)]
    assert [d.reason for d in retries] == [
        f"transient failure: retry {n} of 3 in {2 ** (n - 1)} s" for n in range(1, len(retries) + 1)
    ]
    if not succeeded:
        assert decisions[-1].reason == "transient failure: all 3 retries are used"


def _run(attempts: list[Evidence]) -> tuple[bool, list[Decision]]:
    """Carry out attempts as an executor does: classify, decide, go on or not."""
    decisions = []
    for number, evidence in enumerate(attempts, start=1):
        failure = classify(evidence)
        if failure is None:
            return True, decisions
        decisions.append(RetryPolicy().decide(failure.type, number))
        if decisions[-1].action == "fail":
            break
    return False, decisions
