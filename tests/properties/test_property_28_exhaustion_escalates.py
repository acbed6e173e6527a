"""Feature: execution-engine, Property 28: Exhaustion escalates

Whatever attempts an execution has, whoever repeats their end and however often the channel fails before it works:
each step that failed for good is told at least once, and no other.
"""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import StaticPool, create_engine, select
from sqlalchemy.orm import Session

from airflow_sop_provider.store.attempts import AttemptBegin, AttemptEnd, begin_attempt, end_attempt
from airflow_sop_provider.store.deliveries import claim, settle, spread
from airflow_sop_provider.store.executions import open_execution
from airflow_sop_provider.store.tables import DeliveryRow, metadata
from tests.store.facts import SUBMITTED, attempt_key, context_of, entries_of, run_facts

pytestmark = pytest.mark.slow

CHANNEL = {"notifier": "site.Notifier", "kwargs": {}}
STEPS = st.dictionaries(
    st.sampled_from(["a", "b", "c"]),
    st.tuples(st.integers(0, 3), st.sampled_from(["succeeded", "failed", "skipped"])),
    min_size=1,
)
TRIES = 4


@settings(max_examples=100, deadline=None)
@given(steps=STEPS, repeated=st.integers(1, 2), failures=st.integers(0, TRIES), killed=st.booleans())
def test_every_exhausted_step_is_told(steps, repeated, failures, killed):
    engine = create_engine("sqlite://", poolclass=StaticPool)
    metadata.create_all(engine)
    with Session(engine) as session:
        execution = open_execution(session, run_facts(), context_of().model_copy(update={"escalation": (CHANNEL,)}))
        for step, (retries, last) in steps.items():
            for attempt, state in enumerate(["retrying"] * retries + [last], start=1):
                key = attempt_key(step, attempt)
                begin_attempt(session, execution, AttemptBegin(key=key, kind="step", at=SUBMITTED))
                for _ in range(repeated):
                    end_attempt(session, execution, AttemptEnd(key=key, state=state, at=SUBMITTED))
        told, tried, now = [], {}, SUBMITTED
        for _ in range(100):
            spread(session, [CHANNEL], now)
            now += timedelta(seconds=301)
            claimed = claim(session, now, per_minute=99)
            if claimed is None:
                break
            first = claimed.id not in tried
            tried[claimed.id] = tried.get(claimed.id, 0) + 1
            if first and killed:
                continue
            fails = tried[claimed.id] <= failures
            settle(session, claimed, "away" if fails else None, now, max_tries=TRIES)
            told += [] if fails else [claimed.message["step"]]
        exhausted = sorted(step for step, (_, last) in steps.items() if last == "failed")
        states = session.scalars(select(DeliveryRow.state)).all()
        notes = [
            entry.step for entry in entries_of(session, execution.name) if entry.kind == "escalation" and entry.step
        ]
        assert sorted(notes) == exhausted
        if failures < TRIES:
            assert sorted(told) == exhausted
            assert set(states) <= {"delivered"}
        else:
            assert told == []
            assert states == ["dead"] * len(exhausted), "what nobody could be told is listed"
    engine.dispose()
