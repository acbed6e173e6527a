"""What takes too long is told once, with its flag, its audit entry and its place in the outbox."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import select

from airflow_sop_provider.engine.alert_rules import OverrunRule
from airflow_sop_provider.engine.execution_state import ExecutionStatus
from airflow_sop_provider.store.alerts import acknowledge, alerts_of, expected_of, flag, overrunning
from airflow_sop_provider.store.executions import close_execution, open_execution, set_status
from airflow_sop_provider.store.tables import AlertRow, ExecutionRow, OutboxRow
from tests.store.facts import SUBMITTED, context_of, entries_of, run_facts

SOP = "software-licence-review"


def at(seconds: float):
    return SUBMITTED + timedelta(seconds=seconds)


def begun(session, run_id="manual__1", *, expected=None, began=0.0, ended=None, kind="licences") -> ExecutionRow:
    context = context_of().model_copy(update={"expected_seconds": expected, "control_type": kind})
    row = open_execution(session, run_facts(run_id=run_id), context)
    set_status(session, row, ExecutionStatus.RUNNING, "began", at=at(began))
    if ended is not None:
        close_execution(session, row, ExecutionStatus.COMPLETED, {}, at=at(ended))
    return row


def history(session, *durations: float) -> None:
    for number, seconds in enumerate(durations):
        begun(session, f"h{number}", began=0, ended=seconds)


@pytest.mark.parametrize(("elapsed", "raised"), [(19, False), (20, False), (20.5, True)])
def test_more_than_twice_as_long_is_an_alert(session, elapsed, raised) -> None:
    row = begun(session, expected=10)
    assert flag(session, row, at(elapsed)) is raised
    assert row.flagged is raised
    assert [entry.kind for entry in entries_of(session, row.name)].count("alert") == raised
    kinds = session.scalars(select(OutboxRow.kind)).all()
    assert list(kinds) == ["alert"] * raised


def test_it_is_raised_once(session) -> None:
    row = begun(session, expected=10)
    assert overrunning(session, at(30)) == [row.id]
    assert flag(session, row, at(30))
    assert overrunning(session, at(40)) == []
    assert not flag(session, row, at(40))
    assert len(session.scalars(select(AlertRow)).all()) == 1


def test_all_of_it_or_nothing(sessions) -> None:
    with sessions.begin() as session:
        number = begun(session, expected=10).id
    with sessions() as session:
        flag(session, session.get(ExecutionRow, number), at(30))
        session.rollback()
    with sessions() as session:
        row = session.get(ExecutionRow, number)
        assert not row.flagged
        assert session.scalars(select(OutboxRow)).all() == []
        assert flag(session, row, at(30))


def test_one_that_ended_while_nobody_looked_counts(session) -> None:
    row = begun(session, expected=10, ended=25)
    assert overrunning(session, at(3600)) == [row.id]
    assert flag(session, row, at(3600))
    assert "took 25 s; 10 s were expected" in session.scalars(select(AlertRow.message)).one()
    quick = begun(session, "quick", expected=10, ended=5)
    assert not flag(session, quick, at(3600)), "its time ended with it"


def test_what_nobody_declared_is_learnt_from_completed_ones_before(session) -> None:
    history(session, 10, 12, 14, 1000)
    assert expected_of(session, begun(session, "few", began=2000)) is None
    begun(session, "h5", began=0, ended=11)
    begun(session, "other", kind="payroll", ended=900)
    begun(session, "after", began=0, ended=5000)
    row = begun(session, "enough", began=2000)
    assert expected_of(session, row) == 12
    assert not flag(session, row, at(2024))
    assert flag(session, row, at(2025))


def test_the_rule_is_the_sites(session) -> None:
    rule = OverrunRule(factor=1.5, minimum=2, look_back=timedelta(hours=1))
    row = begun(session, "declared", expected=10)
    assert not flag(session, row, at(15), rule)
    assert flag(session, row, at(15.5), rule)
    history(session, 100, 100)
    learnt = begun(session, "learnt", began=1000)
    assert not flag(session, learnt, at(2000)), "two are too few for the default rule"
    assert flag(session, learnt, at(1151), rule)
    over = begun(session, "over", expected=10, ended=60)
    assert over.id in overrunning(session, at(60 + 3599), rule=rule)
    assert over.id not in overrunning(session, at(60 + 3600), rule=rule)


def test_what_is_declared_wins_over_history(session) -> None:
    history(session, *[10] * 9)
    row = begun(session, "declared", expected=100, began=1000)
    assert expected_of(session, row) == 100
    assert not flag(session, row, at(1200))


def test_without_any_expectation_there_is_no_alert(session) -> None:
    row = begun(session, kind=None)
    assert not flag(session, row, at(10**6))
    assert overrunning(session, at(10**6)) == []


def test_the_first_who_saw_it_is_kept(session) -> None:
    row = begun(session, expected=10)
    flag(session, row, at(30))
    [(alert, _)] = alerts_of(session, {SOP}, acknowledged=False)
    assert acknowledge(session, alert, row, "ada", at(40))
    assert not acknowledge(session, alert, row, "bob", at(50))
    assert alert.acknowledged_by == "ada"
    assert alerts_of(session, {SOP}, acknowledged=False) == []
    assert len(alerts_of(session, {SOP}, acknowledged=True)) == 1
    assert alerts_of(session, {"another"}) == []
    assert entries_of(session, row.name)[-1].component == "user:ada"
