"""What is told of executions and attempts is told once, and nothing of it is old."""

from __future__ import annotations

from datetime import timedelta

from airflow_sop_provider.engine.execution_state import ExecutionStatus
from airflow_sop_provider.store.attempts import AttemptBegin, AttemptEnd, begin_attempt, end_attempt
from airflow_sop_provider.store.executions import close_execution, open_execution, set_status
from airflow_sop_provider.store.happenings import EndedExecution, advance, happenings, levels_now
from airflow_sop_provider.store.tables import BreakerRow
from tests.store.facts import SUBMITTED, attempt_key, context_of, run_facts


def at(seconds: float):
    return SUBMITTED + timedelta(seconds=seconds)


def test_spans_meet_without_a_gap_or_an_overlap(sessions) -> None:
    spans = []
    for seconds in (0, 10, 10, 25):
        with sessions.begin() as session:
            spans.append(advance(session, "told", at(seconds)))
    assert spans == [(at(0), at(0)), (at(0), at(10)), (at(10), at(10)), (at(10), at(25))]


def test_a_span_is_an_hour_at_most_and_never_turned_by_a_clock_that_was_set_back(sessions) -> None:
    with sessions.begin() as session:
        advance(session, "told", at(0))
    with sessions.begin() as session:
        assert advance(session, "told", at(86400)) == (at(86400 - 3600), at(86400))
    with sessions.begin() as session:
        assert advance(session, "told", at(86000)) == (at(86000), at(86000))
    with sessions.begin() as session:
        assert advance(session, "told", at(86500)) == (at(86400), at(86500)), "nothing is told twice"


def test_each_fact_is_in_one_span(session) -> None:
    row = open_execution(session, run_facts(), context_of())
    set_status(session, row, ExecutionStatus.RUNNING, "began", at=at(5))
    begin_attempt(session, row, AttemptBegin(key=attempt_key(), kind="step", at=at(5)))
    end_attempt(session, row, AttemptEnd(key=attempt_key(), state="failed", error_type="permanent", at=at(9)))
    close_execution(session, row, ExecutionStatus.FAILED, {}, at=at(10))
    first, second = happenings(session, at(0), at(10)), happenings(session, at(10), at(20))
    assert (first.started, second.started) == ({"system_design": 1}, {})
    assert [(one.error_type, one.seconds) for one in first.attempts] == [("permanent", 4.0)]
    assert second.attempts == []
    assert first.executions == []
    assert second.executions == [EndedExecution("system_design", row.control, "FAILED", 5.0)]


def test_levels(session) -> None:
    for number in range(3):
        open_execution(session, run_facts(run_id=f"r{number}"), context_of())
    running = open_execution(session, run_facts(run_id="running"), context_of())
    set_status(session, running, ExecutionStatus.RUNNING, "began", at=at(1))
    begin_attempt(session, running, AttemptBegin(key=attempt_key(run_id="running"), kind="step", at=at(1)))
    session.add(BreakerRow(server="s", state="probing", window="1100"))
    session.flush()
    found = levels_now(session)
    assert (found.queue_depth, found.executions["RUNNING"], found.running_attempts) == (3, 1, 1)
    assert found.breakers == {"s": ("probing", 0.5)}
    assert found.deliveries == {"pending": 0, "dead": 0}
