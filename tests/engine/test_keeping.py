"""Which containers stay for a person to look at, and until when."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_sop_provider.contract import ErrorType, Verdict
from airflow_sop_provider.contract.verdict import VerdictError
from airflow_sop_provider.engine.failures import classify
from airflow_sop_provider.engine.keeping import is_kept
from airflow_sop_provider.runtimes import Outcome

END = datetime(2026, 1, 1, tzinfo=UTC)
HOUR = 3600.0
FAILED = Verdict(status="failed", error=VerdictError(type=ErrorType.PERMANENT, code="x", message="y"))
CANCELLED = Verdict(status="failed", error=VerdictError(type=ErrorType.CRASH, code="cancelled", message="y"))

VERDICTS = st.sampled_from([None, FAILED, CANCELLED, Verdict(status="succeeded"), Verdict(status="skipped")])
OUTCOMES = st.builds(
    Outcome,
    exit_code=st.none() | st.integers(0, 255),
    signal=st.none() | st.integers(0, 64),
    verdict=VERDICTS,
    oom=st.booleans(),
    timed_out=st.booleans(),
    stopped=st.booleans(),
    ended_at=st.none() | st.just(END),
)
SECONDS = st.floats(0, 1e9)


def after(seconds: float) -> datetime:
    return END + timedelta(seconds=seconds)


@given(OUTCOMES, SECONDS, SECONDS)
def test_only_a_failure_with_a_known_end_is_kept_and_only_until_its_time_is_over(seen, keep, age):
    if is_kept(seen, keep, after(age)):
        assert classify(seen) is not None
        assert not seen.stopped
        assert seen.ended_at is not None
        assert age < keep + 1e-3  # a datetime has microseconds


@given(OUTCOMES, SECONDS, SECONDS, SECONDS)
def test_what_is_not_kept_is_not_kept_later_either(seen, keep, age, more):
    if not is_kept(seen, keep, after(age)):
        assert not is_kept(seen, keep, after(age + more))


@given(OUTCOMES, st.floats(-1e9, 1e9))
def test_by_default_nothing_is_kept(seen, age):
    assert not is_kept(seen, 0.0, after(age))


@pytest.mark.parametrize(
    "seen",
    [
        Outcome(exit_code=69, verdict=FAILED),
        Outcome(exit_code=3),
        Outcome(exit_code=0),  # without a verdict there is no success
        Outcome(signal=11),
        Outcome(exit_code=137, oom=True),
        Outcome(signal=9, oom=True),
        Outcome(exit_code=143, verdict=CANCELLED, timed_out=True),
    ],
)
def test_what_failed_is_kept(seen):
    seen = replace(seen, ended_at=END)
    assert is_kept(seen, HOUR, after(HOUR - 1))
    assert not is_kept(seen, HOUR, after(HOUR))
    assert is_kept(seen, float("inf"), after(1e9))


@pytest.mark.parametrize(
    "seen",
    [
        Outcome(exit_code=143, verdict=CANCELLED),
        Outcome(exit_code=137),
        Outcome(signal=9),
        Outcome(signal=15, exit_code=3),
        Outcome(exit_code=3, stopped=True),
        Outcome(exit_code=137, oom=True, stopped=True),
        Outcome(exit_code=0, verdict=Verdict(status="succeeded")),
        Outcome(signal=9, verdict=Verdict(status="skipped")),
    ],
)
def test_what_succeeded_or_may_have_been_stopped_is_not_kept(seen):
    assert not is_kept(replace(seen, ended_at=END), HOUR, END)


def test_an_end_at_an_unknown_time_or_in_the_far_future_is_not_waited_for():
    assert not is_kept(Outcome(exit_code=3), HOUR, END)
    assert is_kept(Outcome(exit_code=3, ended_at=after(5)), HOUR, END), "a clock that is a little ahead"
    assert not is_kept(Outcome(exit_code=3, ended_at=after(2 * HOUR)), HOUR, END)
