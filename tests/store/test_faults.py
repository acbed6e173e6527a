"""A clock that jumps, a disk that is full: nothing is lost, nothing is stored by half, and the log verifies."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import create_engine, select, text
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from airflow_sop_provider.audit.chain_check import check_complete
from airflow_sop_provider.audit.verify import verify_path
from airflow_sop_provider.engine.execution_state import ExecutionStatus
from airflow_sop_provider.engine.runner_tokens import attempt_of_token, key_of_secret, runner_token
from airflow_sop_provider.store import leases
from airflow_sop_provider.store.alerts import flag
from airflow_sop_provider.store.attempts import AttemptBegin, AttemptEnd, begin_attempt, end_attempt, record_events
from airflow_sop_provider.store.audit_digests import digest_files, make_digest
from airflow_sop_provider.store.audit_keys import SigningKey
from airflow_sop_provider.store.audit_log import chain_entries
from airflow_sop_provider.store.executions import close_execution, open_execution
from airflow_sop_provider.store.tables import AttemptRow, AuditDigestRow, AuditEntryRow, ExecutionRow, metadata
from tests.integration.postgres_server import PostgresServer
from tests.store.facts import SUBMITTED, attempt_key, context_of, entries_of, run_facts

KEY = SigningKey.from_secret("5a" * 32)
HOUR = timedelta(hours=1)


def event(seq: int) -> dict:
    return {"seq": seq, "time": SUBMITTED.isoformat(), "event": "action", "text": "x" * 200}


# -- the clock --------------------------------------------------------------------------------


@pytest.mark.parametrize("step", [-2 * HOUR, 2 * HOUR], ids=["back", "ahead"])
def test_a_clock_step_breaks_no_chain_and_no_duration(session, tmp_path: Path, step) -> None:
    execution = open_execution(session, run_facts(), context_of())
    key = attempt_key()
    begin_attempt(session, execution, AttemptBegin(key=key, kind="step", at=SUBMITTED))
    assert make_digest(session, KEY, SUBMITTED) is not None
    end_attempt(session, execution, AttemptEnd(key=key, state="succeeded", at=SUBMITTED + step))
    assert make_digest(session, KEY, SUBMITTED + step) is not None
    session.refresh(execution)
    assert close_execution(session, execution, ExecutionStatus.COMPLETED, {}, at=SUBMITTED + step)
    assert make_digest(session, KEY, SUBMITTED + 2 * step) is not None
    entries = entries_of(session, execution.name)
    assert check_complete(execution.name, entries) == []
    assert entries[-1].metadata["duration_seconds"] == max(0.0, step.total_seconds())
    for row in session.scalars(select(AuditDigestRow)):
        for name, content in digest_files(session, row).files.items():
            (tmp_path / name).write_bytes(content)
    assert verify_path(tmp_path, key=KEY.public).problems == []


def test_a_clock_that_was_set_back_is_no_overrun(session) -> None:
    execution = open_execution(session, run_facts(), context_of())
    execution.expected_seconds, execution.started_at = 1.0, SUBMITTED
    session.flush()
    assert not flag(session, execution, SUBMITTED - HOUR)


def test_a_lease_from_before_the_clock_was_set_back_binds_nobody(session, monkeypatch) -> None:
    """The clock was an hour ahead, the holder died, the clock was put right: the work goes on, not in an hour."""
    monkeypatch.setattr(leases, "utc_now", lambda: SUBMITTED + HOUR)
    assert leases.hold(session, "reconcile", "dead", 30)
    monkeypatch.setattr(leases, "utc_now", lambda: SUBMITTED)
    assert leases.hold(session, "reconcile", "alive", 30)
    assert not leases.hold(session, "reconcile", "another", 30)
    monkeypatch.setattr(leases, "utc_now", lambda: SUBMITTED + HOUR)
    assert leases.hold(session, "reconcile", "another", 30), "a step ahead ends every lease, and one takes it"


def test_a_runner_whose_token_was_made_by_a_clock_ahead_is_let_in() -> None:
    secret, key = key_of_secret("s"), attempt_key()
    token = runner_token(key, secret, timeout_seconds=60, now=SUBMITTED + HOUR * 24 * 3650)
    assert attempt_of_token(token, secret) == key


# -- the disk ---------------------------------------------------------------------------------


def test_a_full_disk_stores_all_of_a_fact_or_nothing_and_goes_on_when_there_is_room(tmp_path: Path) -> None:
    """SQLite's own limit of pages gives the very error that a full disk gives, wherever in a transaction it comes."""
    engine = create_engine(f"sqlite:///{tmp_path / 'engine.db'}")
    metadata.create_all(engine)
    key, stored, refused = attempt_key(), 0, 0
    with Session(engine) as session:
        begin_attempt(session, open_execution(session, run_facts(), context_of()), AttemptBegin(key=key, kind="step"))
        session.commit()
        used = session.execute(text("PRAGMA page_count")).scalar_one()
        for more in range(1, 40):
            session.execute(text(f"PRAGMA max_page_count = {used + more // 2}"))
            execution = session.scalars(select(ExecutionRow)).one()
            attempt = session.scalars(select(AttemptRow)).one()
            try:
                record_events(session, execution, attempt, [event(stored + n) for n in range(1, 8)])
                session.commit()
            except OperationalError:
                session.rollback()
                refused += 1
            else:
                stored += 7
            assert session.scalars(select(AttemptRow.events_seen)).one() == stored
            assert len([one for one in chain_entries(session, execution.name) if one.kind == "action"]) == stored
        assert refused, "the disk was full"
        assert stored, "and had room again"
        session.execute(text("PRAGMA max_page_count = 100000"))
        end_attempt(
            session, session.scalars(select(ExecutionRow)).one(),
            AttemptEnd(key=key, state="succeeded", events=[event(n) for n in range(1, stored + 20)]),
        )  # fmt: skip
        session.commit()
        entries = entries_of(session, "software-licence-review/manual__1")
        assert len([one for one in entries if one.kind == "action"]) == stored + 19
        assert session.scalars(select(AuditEntryRow.seq)).all()
    engine.dispose()


# -- the database ----------------------------------------------------------------------------------------------------


@pytest.mark.postgres
def test_facts_go_on_after_the_database_was_killed_in_the_middle_of_one() -> None:
    """What was stored is there, what was under way is there not at all, and whoever repeats it doubles nothing."""
    server = PostgresServer()
    engine = create_engine(server.create_database("killed"), pool_pre_ping=True)
    metadata.create_all(engine)
    key, execution = attempt_key(), "software-licence-review/manual__1"
    end = AttemptEnd(key=key, state="succeeded", events=[event(1), event(2)])
    try:
        with Session(engine) as session, session.begin():
            begin_attempt(
                session, open_execution(session, run_facts(), context_of()), AttemptBegin(key=key, kind="step")
            )
        with Session(engine) as session:
            assert end_attempt(session, session.scalars(select(ExecutionRow)).one(), end)
            server.shut_down()
            with pytest.raises(OperationalError):
                session.commit()
        with pytest.raises(OperationalError), Session(engine) as session:
            session.scalars(select(ExecutionRow)).one()
        server.start()
        with Session(engine) as session, session.begin():
            assert [one.kind for one in entries_of(session, execution) if one.step] == ["attempt.begin"]
            assert end_attempt(session, session.scalars(select(ExecutionRow)).one(), end)
            assert not end_attempt(session, session.scalars(select(ExecutionRow)).one(), end)
        with Session(engine) as session:
            kinds = [one.kind for one in entries_of(session, execution) if one.step]
            assert kinds == ["attempt.begin", "action", "action", "attempt.end"]
    finally:
        engine.dispose()
        server.stop()
