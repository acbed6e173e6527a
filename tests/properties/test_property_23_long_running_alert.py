"""Feature: execution-engine, Property 23: Long-running alert

Whatever was declared, whatever history says and whenever somebody looks: an execution is flagged and told exactly if
it took more than twice what was expected, and once.
"""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import StaticPool, create_engine, select
from sqlalchemy.orm import Session

from airflow_sop_provider.engine.execution_state import ExecutionStatus
from airflow_sop_provider.store.alerts import flag, overrunning
from airflow_sop_provider.store.executions import close_execution, open_execution, set_status
from airflow_sop_provider.store.tables import AlertRow, ExecutionRow, OutboxRow, metadata
from tests.store.facts import SUBMITTED, context_of, run_facts

pytestmark = pytest.mark.slow

SECONDS = st.integers(1, 1000)


@settings(max_examples=100, deadline=None)
@given(
    declared=st.none() | SECONDS,
    history=st.lists(SECONDS, max_size=8),
    ended=st.none() | st.integers(1, 3000),
    looks=st.lists(st.integers(1, 3000), min_size=1, max_size=4),
)
def test_exactly_what_takes_too_long_is_flagged(declared, history, ended, looks):
    engine = create_engine("sqlite://", poolclass=StaticPool)
    metadata.create_all(engine)
    began = SUBMITTED + timedelta(hours=1)
    with Session(engine) as session:
        for number, seconds in enumerate(history):
            past(session, f"h{number}", seconds)
        row = opened(session, "it", declared)
        set_status(session, row, ExecutionStatus.RUNNING, "began", at=began)
        if ended is not None:
            close_execution(session, row, ExecutionStatus.FAILED, {}, at=began + timedelta(seconds=ended))
        for look in sorted(looks):
            now = began + timedelta(seconds=look)
            for number in overrunning(session, now):
                if number == row.id:
                    flag(session, session.get_one(ExecutionRow, number), now)
        elapsed = max(looks) if ended is None else ended
        expected = declared if declared is not None else middle(history)
        late = expected is not None and elapsed > 2 * expected
        assert row.flagged is late
        assert len(session.scalars(select(AlertRow)).all()) == late
        assert len(session.scalars(select(OutboxRow)).all()) == late
    engine.dispose()


def opened(session, run_id, declared):
    context = context_of().model_copy(update={"expected_seconds": declared, "control_type": "licences"})
    return open_execution(session, run_facts(run_id=run_id), context)


def past(session, run_id, seconds):
    row = opened(session, run_id, None)
    set_status(session, row, ExecutionStatus.RUNNING, "began", at=SUBMITTED)
    close_execution(session, row, ExecutionStatus.COMPLETED, {}, at=SUBMITTED + timedelta(seconds=seconds))


def middle(history):
    """The median, computed without the code under test; None if there are fewer than five."""
    if len(history) < 5:
        return None
    ordered, half = sorted(history), len(history) // 2
    return ordered[half] if len(history) % 2 else (ordered[half - 1] + ordered[half]) / 2
