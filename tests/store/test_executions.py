from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from sqlalchemy import func, select

from airflow_sop_provider.audit.entries import AuditFields
from airflow_sop_provider.engine.execution_context import ExecutionContext
from airflow_sop_provider.engine.execution_state import ExecutionStatus
from airflow_sop_provider.store.audit_append import append
from airflow_sop_provider.store.executions import (
    cancel_execution,
    close_execution,
    find_execution,
    open_execution,
    reopen_execution,
    set_status,
)
from airflow_sop_provider.store.tables import AuditChainRow, DocumentRow, ExecutionRow
from tests.store.facts import SUBMITTED, context_of, entries_of, run_facts

NAME = "software-licence-review/manual__1"


def _open(session, **changes):
    row = open_execution(session, run_facts(**changes), context_of(), "the text")
    session.commit()
    return row


def test_an_execution_is_stored_with_its_context_and_document(session) -> None:
    _open(session, conf={"policy": "x", "priority": "high", "batch": "nightly"})
    row = find_execution(session, "software-licence-review", "manual__1")
    assert row is not None
    context = context_of()
    assert (row.status, row.priority, row.batch, row.inputs) == ("SUBMITTED", "high", "nightly", {"policy": "x"})
    assert (row.version, row.digest, row.control) == (context.version, context.digest, context.control)
    assert ExecutionContext.model_validate(row.context) == context
    assert session.get(DocumentRow, context.digest).text == "the text"
    assert row.submitted_at == SUBMITTED


def test_opened_again_it_is_the_same_and_begins_once(session) -> None:
    first, second = _open(session), _open(session)
    assert first.id == second.id
    assert [entry.kind for entry in entries_of(session, NAME)] == ["start"]


def test_the_start_entry_names_what_property_3_asks_for(session) -> None:
    _open(session)
    start = entries_of(session, NAME)[0]
    context = context_of()
    assert start.time == "2026-11-25T08:00:00.000000Z"
    wanted = {"execution": NAME, "version": context.version, "digest": context.digest, "mode": context.mode}
    assert wanted.items() <= start.metadata.items()
    assert start.metadata["agent"] == "engine"


def test_two_processes_that_open_at_once_store_one(sessions) -> None:
    def opened(_: int) -> int:
        with sessions() as session:
            row = open_execution(session, run_facts(), context_of(), "the text")
            number = row.id
            session.commit()
            return number

    with ThreadPoolExecutor(4) as pool:
        assert len(set(pool.map(opened, range(8)))) == 1
    with sessions() as session:
        assert session.scalar(select(func.count()).select_from(ExecutionRow)) == 1
        assert len(entries_of(session, NAME)) == 1


def test_entries_of_many_writers_form_one_chain(sessions) -> None:
    def write(number: int) -> None:
        for turn in range(5):
            with sessions() as session:
                said = [AuditFields(kind="note", component=f"w{number}", message=f"{turn}")] * 2
                append(session, "a/b", said)
                session.commit()

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(write, range(4)))
    with sessions() as session:
        assert len(entries_of(session, "a/b")) == 40
        chain = session.scalars(select(AuditChainRow)).one()
        assert (chain.seq, chain.head) == (40, entries_of(session, "a/b")[-1].hash)


def test_an_entry_and_its_fact_are_stored_together_or_not_at_all(session) -> None:
    _open(session)
    append(session, NAME, [AuditFields(kind="note", component="engine", message="lost with its transaction")])
    session.rollback()
    assert len(entries_of(session, NAME)) == 1


def test_what_is_rolled_back_leaves_nothing(session) -> None:
    """Also on SQLite, whose driver commits what is released in a savepoint that a transaction begins with."""
    open_execution(session, run_facts(), context_of(), "the text")
    session.rollback()
    for table in (ExecutionRow, DocumentRow, AuditChainRow):
        assert session.scalar(select(func.count()).select_from(table)) == 0


def test_secrets_are_masked_before_they_are_stored(session) -> None:
    _open(session, conf={"api_key": "s3cr3t-value"})
    assert "s3cr3t-value" not in "".join(entry.to_line() for entry in entries_of(session, NAME))


def test_status_only_moves_forward(session) -> None:
    row = _open(session)
    assert set_status(session, row, ExecutionStatus.RUNNING, "a step began")
    assert not set_status(session, row, ExecutionStatus.QUEUED, "late news")
    assert row.status == "RUNNING"
    assert row.started_at is not None
    with pytest.raises(ValueError, match="close"):
        set_status(session, row, ExecutionStatus.FAILED, "no")


def test_it_is_closed_once_with_its_duration(session) -> None:
    row = _open(session)
    set_status(session, row, ExecutionStatus.RUNNING, "a step began", at=SUBMITTED)
    end = SUBMITTED + timedelta(seconds=90)
    assert close_execution(session, row, ExecutionStatus.COMPLETED, {"outputs": {"report": 1}}, at=end)
    assert not close_execution(session, row, ExecutionStatus.FAILED, {}, at=end)
    assert (row.status, row.result, row.ended_at) == ("COMPLETED", {"outputs": {"report": 1}}, end)
    completion = entries_of(session, NAME)[-1]
    assert completion.kind == "completion"
    assert completion.metadata["duration_seconds"] == 90.0
    with pytest.raises(ValueError, match="final"):
        close_execution(session, row, ExecutionStatus.RUNNING, {})


def test_a_stale_view_does_not_close_it_twice(sessions) -> None:
    with sessions() as one, sessions() as two:
        open_execution(one, run_facts(), context_of())
        one.commit()
        stale = find_execution(two, "software-licence-review", "manual__1")
        assert stale is not None
        two.rollback()
        fresh = find_execution(one, "software-licence-review", "manual__1")
        assert fresh is not None
        assert close_execution(one, fresh, ExecutionStatus.COMPLETED, {})
        one.commit()
        assert not close_execution(two, stale, ExecutionStatus.FAILED, {})
        assert stale.status == "COMPLETED"


def test_who_cancelled_and_why_is_kept(session) -> None:
    row = _open(session)
    assert cancel_execution(session, row, "bob", "wrong vendor")
    assert not cancel_execution(session, row, "eve")
    assert (row.cancelled_by, row.cancel_reason) == ("bob", "wrong vendor")
    assert entries_of(session, NAME)[-1].component == "user:bob"


def test_cleared_tasks_open_it_again(session) -> None:
    row = _open(session)
    assert not reopen_execution(session, row, "nothing to do")
    close_execution(session, row, ExecutionStatus.FAILED, {})
    assert reopen_execution(session, row, "report runs again")
    assert (row.status, row.ended_at, row.result) == ("RUNNING", None, None)
