"""The table of design section 8, row by row, and what holds for any evidence."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_sop_provider.contract import ErrorType, Verdict, VerdictError
from airflow_sop_provider.engine.failures import Evidence, classify
from airflow_sop_provider.runtimes.base import Outcome, RuntimeStartError

SUCCEEDED = Verdict(status="succeeded", outputs=1)
T, P, R, C, Q = ErrorType.TRANSIENT, ErrorType.PERMANENT, ErrorType.RESOURCE, ErrorType.CRASH, ErrorType.REQUEUE


def failed(error_type: ErrorType) -> Verdict:
    return Verdict(status="failed", error=VerdictError(type=error_type, code="c", message="m", details={"k": 1}))


@pytest.mark.parametrize(
    ("seen", "error_type", "code"),
    [
        ({"exit_code": 75}, T, "exit-75"),
        ({"exit_code": 75, "verdict": failed(T)}, T, "c"),
        ({"api_status": 409}, T, "runtime-api"),
        ({"api_status": 429}, T, "runtime-api"),
        ({"api_status": 503, "started": False}, T, "runtime-api"),
        ({"exit_code": 65}, P, "exit-65"),
        ({"exit_code": 69}, P, "exit-69"),
        ({"exit_code": 77}, P, "exit-77"),
        ({"exit_code": 78}, P, "exit-78"),
        ({"reason": "InvalidImageName", "started": False}, P, "bad-container"),
        ({"reason": "ImageNotFound", "started": False}, P, "bad-container"),
        ({"api_status": 422, "started": False}, P, "runtime-api"),
        ({"exit_code": 127, "details": {"exec_error": "2 cannot execute"}}, P, "not-executable"),
        ({"exit_code": 137, "reason": "OOMKilled"}, R, "out-of-memory"),
        ({"signal": 9, "oom": True}, R, "out-of-memory"),
        ({"exit_code": 0, "oom": True}, R, "out-of-memory"),
        ({"signal": 9, "oom": True, "verdict": failed(C)}, R, "out-of-memory"),
        ({"reason": "EvictedMemory"}, R, "out-of-memory"),
        ({"reason": "EvictedStorage"}, R, "out-of-storage"),
        ({"reason": "DeadlineExceeded"}, R, "out-of-time"),
        ({"signal": 15, "timed_out": True}, R, "out-of-time"),
        ({"signal": 11}, C, "signal"),
        ({"exit_code": 1}, C, "exit-1"),
        ({"exit_code": 0}, C, "no-verdict"),
        ({"exit_code": 0, "details": {"verdict_problem": "verdict.json: EOF"}}, C, "bad-verdict"),
        ({"exit_code": 0, "details": {"verdict_problem": "x", "verdict_foreign": True}}, P, "bad-verdict"),
        ({"exit_code": 75, "details": {"verdict_problem": "x", "verdict_foreign": True}}, T, "bad-verdict"),
        ({"signal": 9, "details": {"verdict_problem": "x"}}, C, "signal"),
        ({}, C, "no-verdict"),
        ({"reason": "NodeLost"}, C, "no-verdict"),
        ({"signal": 9, "stopped": True}, C, "stopped"),
        ({"exit_code": 1, "verdict": failed(C)}, C, "c"),
        ({"reason": "Preempted", "started": False}, Q, "never-started"),
        ({"reason": "Evicted", "started": False}, Q, "never-started"),
        ({"reason": "NodeLost", "started": False}, Q, "never-started"),
        ({"api_status": 403, "started": False}, Q, "quota"),
        ({"started": False}, Q, "never-started"),
    ],
)
def test_the_table(seen: dict[str, Any], error_type: ErrorType, code: str) -> None:
    failure = classify(Evidence(**seen))
    assert failure is not None
    assert (failure.type, failure.code) == (error_type, code)
    assert failure.message


def test_a_runtimes_error_carries_its_type() -> None:
    error = RuntimeStartError("no space", error_type=T, code="local-start", evidence={"errno": "ENOSPC"})
    failure = classify(error)
    assert failure is not None
    assert (failure.type, failure.code, failure.message) == (T, "local-start", "no space")
    assert failure.evidence == {"errno": "ENOSPC"}


def test_an_outcome_is_evidence_and_keeps_what_the_runtime_saw() -> None:
    failure = classify(Outcome(exit_code=1, evidence={"leftovers_ended": 2}))
    assert failure is not None
    assert failure.evidence == {"leftovers_ended": 2, "exit_code": 1, "started": True}


def test_the_runners_details_are_kept() -> None:
    failure = classify(Evidence(exit_code=75, verdict=failed(T)))
    assert failure is not None
    assert failure.evidence["k"] == 1
    assert failure.evidence["exit_code"] == 75


EVIDENCE = st.builds(
    Evidence,
    exit_code=st.none() | st.integers(0, 255),
    signal=st.none() | st.integers(1, 64),
    verdict=st.none()
    | st.just(SUCCEEDED)
    | st.just(Verdict(status="skipped"))
    | st.just(Verdict(status="failed"))
    | st.sampled_from(ErrorType).map(failed),
    started=st.booleans(),
    oom=st.booleans(),
    timed_out=st.booleans(),
    stopped=st.booleans(),
    reason=st.none()
    | st.sampled_from(["OOMKilled", "Evicted", "Preempted", "DeadlineExceeded", "InvalidImageName", "NodeLost"])
    | st.just("unknown"),
    api_status=st.none() | st.integers(200, 599),
    details=st.sampled_from([{}, {"leftovers_ended": 2}, {"exec_error": "2 no such file"}]),
)


@given(EVIDENCE)
def test_every_evidence_has_exactly_one_meaning(evidence: Evidence) -> None:
    failure = classify(evidence)
    assert failure == classify(evidence)
    done = evidence.verdict is not None and evidence.verdict.status != "failed"
    assert (failure is None) == done
    if failure is None:
        return
    assert failure.code
    assert failure.message
    assert (failure.scarce is not None) == (failure.type is ErrorType.RESOURCE)
    json.dumps(dict(failure.evidence))


@given(EVIDENCE)
def test_what_has_started_is_only_requeued_by_its_own_word(evidence: Evidence) -> None:
    failure = classify(evidence)
    told = evidence.verdict.error.type if evidence.verdict and evidence.verdict.error else None
    if failure is not None and failure.type is ErrorType.REQUEUE:
        assert not evidence.started or told is ErrorType.REQUEUE
