"""Delays, rungs of memory and bounds, for any attempt."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_sop_provider.contract import ErrorType
from airflow_sop_provider.engine.retries import RetryPolicy, next_memory

POLICY = RetryPolicy()
RETRIED = st.sampled_from([ErrorType.TRANSIENT, ErrorType.CRASH, ErrorType.RESOURCE])


def test_the_default_delays_are_one_two_four() -> None:
    decisions = [POLICY.decide(ErrorType.TRANSIENT, n) for n in (1, 2, 3, 4)]
    assert [d.delay_seconds for d in decisions] == [1, 2, 4, 0]
    assert [d.action for d in decisions] == ["retry", "retry", "retry", "fail"]
    assert decisions[0].reason == "transient failure: retry 1 of 3 in 1 s"


@given(RETRIED, st.integers(1, 20), st.integers(0, 10))
def test_retries_are_used_up_exactly(error_type: ErrorType, attempt: int, max_retries: int) -> None:
    decision = POLICY.decide(error_type, attempt, max_retries)
    assert decision.action == ("retry" if attempt <= max_retries else "fail")
    assert decision.delay_seconds == (2 ** (attempt - 1) if attempt <= max_retries else 0)


@given(st.integers(1, 2**40), st.none() | st.integers(1, 2**42))
def test_a_rung_doubles_and_never_passes_the_cap(memory: int, cap: int | None) -> None:
    rung = next_memory(memory, cap)
    if rung is None:
        assert cap is not None
        assert cap <= memory
    else:
        assert memory < rung <= 2 * memory
        assert rung == 2 * memory or rung == cap


@given(st.integers(1, 3), st.integers(1, 2**40), st.none() | st.integers(1, 2**42))
def test_a_lack_of_memory_is_retried_with_more_or_not_at_all(attempt: int, memory: int, cap: int | None) -> None:
    decision = POLICY.decide(ErrorType.RESOURCE, attempt, memory_bytes=memory, max_memory_bytes=cap)
    rung = next_memory(memory, cap)
    assert decision.memory_bytes == rung
    assert decision.action == ("fail" if rung is None else "retry")


@given(st.floats(0, 10_000), st.integers(1, 50))
def test_requeueing_is_bounded_by_time_and_uses_no_attempt(waited: float, attempt: int) -> None:
    decision = POLICY.decide(ErrorType.REQUEUE, attempt, 0, waited_seconds=waited)
    assert decision.action == ("requeue" if waited < POLICY.requeue_limit_seconds else "fail")
    assert waited + decision.delay_seconds <= max(waited, POLICY.requeue_limit_seconds)


@pytest.mark.parametrize(("attempt", "max_retries"), [(0, 3), (1, -1)])
def test_nonsense_is_refused(attempt: int, max_retries: int) -> None:
    with pytest.raises(ValueError, match="count from 1"):
        POLICY.decide(ErrorType.TRANSIENT, attempt, max_retries)
