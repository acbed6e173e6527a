"""When a breaker opens, lets a probe through and closes; and that several gateways agree."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_sop_provider.fleet.breaker import MINIMUM, OPEN_SECONDS, WINDOW, BreakerState, admits, claimed, recorded
from airflow_sop_provider.fleet.breakers import Breakers, MemoryBreakers
from airflow_sop_provider.fleet.call_failures import CallFailedError

outcomes = st.text("01", max_size=300)


@given(outcomes)
def test_it_opens_exactly_when_more_than_half_of_the_last_hundred_failed(text):
    state = BreakerState()
    for number, outcome in enumerate(text):
        state = recorded(state, outcome, float(number))
        window = text[: number + 1][-WINDOW:]
        if len(window) >= MINIMUM and window.count("1") * 2 > len(window):
            assert state.name == "open"
            return
        assert state.name == "closed"
        assert state.window == window


def opened() -> BreakerState:
    state = recorded(BreakerState(), "1" * MINIMUM, 100.0)
    assert state.name == "open"
    return state


def test_one_probe_after_thirty_seconds():
    state = opened()
    assert admits(state, 100.0 + OPEN_SECONDS - 0.1) == "no"
    assert admits(state, 100.0 + OPEN_SECONDS) == "probe"
    first = claimed(state, 100.0 + OPEN_SECONDS, "first")
    assert first.name == "probing"
    assert claimed(first, 100.0 + OPEN_SECONDS, "second") == first
    assert admits(first, 100.0 + OPEN_SECONDS) == "no"


def test_the_probe_decides():
    probing = claimed(opened(), 130.0, "me")
    assert recorded(probing, "0", 131.0, "me") == BreakerState()
    again = recorded(probing, "1", 131.0, "me")
    assert (again.name, again.opened_at) == ("open", 131.0)


def test_requests_that_began_before_say_nothing_about_an_open_breaker():
    assert recorded(opened(), "0" * 50, 105.0) == opened()
    probing = claimed(opened(), 130.0, "me")
    assert recorded(probing, "0", 131.0, "another") == probing


def test_a_probe_that_never_reports_is_followed_by_another():
    probing = claimed(opened(), 130.0, "dead")
    assert admits(probing, 130.0 + OPEN_SECONDS) == "probe"
    assert claimed(probing, 130.0 + OPEN_SECONDS, "next").probe_by == "next"


async def test_gateways_that_share_a_store_open_together():
    store, now = MemoryBreakers(), [1000.0]
    one, two = (Breakers(store, clock=lambda: now[0]) for _ in range(2))
    for _ in range(MINIMUM // 2):
        for gateway in (one, two):
            assert await gateway.admit("s") is None
            await gateway.record("s", failed=True)
    now[0] += 1.1  # what another gateway saw is known a second later
    for gateway in (one, two):
        with pytest.raises(CallFailedError) as caught:
            await gateway.admit("s")
        assert caught.value.code == "mcp-circuit-open"
    now[0] += OPEN_SECONDS
    probe = await one.admit("s")
    assert probe is not None
    with pytest.raises(CallFailedError):
        await two.admit("s")
    await one.record("s", failed=False, probe=probe)
    now[0] += 1.1
    assert await two.admit("s") is None


async def test_successes_reach_the_store_too():
    store, now = MemoryBreakers(), [1000.0]
    gateway = Breakers(store, clock=lambda: now[0])
    for _ in range(MINIMUM):
        await gateway.admit("s")
        await gateway.record("s", failed=False)
    for _ in range(MINIMUM):
        await gateway.admit("s")
        await gateway.record("s", failed=True)
    assert gateway.states()["s"].name == "closed"
    assert gateway.states()["s"].failure_ratio == 0.5
