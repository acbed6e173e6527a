from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from sqlalchemy import select

from airflow_sop_provider.contract.verdict import Usage
from airflow_sop_provider.store.attempts import AttemptBegin, AttemptEnd, begin_attempt, end_attempt, record_events
from airflow_sop_provider.store.executions import open_execution
from airflow_sop_provider.store.tables import AttemptRow, ExecutionRow, OutboxRow
from tests.store.facts import attempt_key, context_of, entries_of, run_facts

NAME = "software-licence-review/manual__1"


def _begun(session, key=None):
    execution = open_execution(session, run_facts(), context_of())
    row = begin_attempt(session, execution, AttemptBegin(key=key or attempt_key(), kind="step", runtime="local"))
    session.commit()
    return execution, row


def _events(*numbers: int) -> list[dict]:
    return [
        {"seq": n, "time": "2026-11-25T08:00:01+00:00", "event": "action", "action": "tool", "step": "inventory"}
        for n in numbers
    ]


def _kinds(session) -> list[str]:
    return [entry.kind for entry in entries_of(session, NAME)]


def test_the_first_attempt_makes_the_execution_running(session) -> None:
    execution, row = _begun(session)
    assert (execution.status, row.state, row.runtime) == ("RUNNING", "running", "local")
    assert _kinds(session) == ["start", "status", "attempt.begin"]


def test_begun_again_it_is_the_same_attempt(session) -> None:
    _, first = _begun(session)
    _, second = _begun(session)
    assert first.id == second.id
    assert _kinds(session).count("attempt.begin") == 1


def test_an_end_is_stored_once_with_usage(session) -> None:
    execution, row = _begun(session)
    usage = Usage(cpu_seconds=1.5, peak_memory_bytes=1024)
    end = AttemptEnd(key=attempt_key(), state="succeeded", usage=usage, outputs_digest="ab" * 32)
    assert end_attempt(session, execution, end)
    assert not end_attempt(session, execution, end)
    session.commit()
    assert (row.state, row.cpu_seconds, row.peak_memory_bytes, row.outputs_digest) == (
        "succeeded",
        1.5,
        1024,
        "ab" * 32,
    )
    assert _kinds(session).count("attempt.end") == 1


def test_an_end_without_a_beginning_is_refused(session) -> None:
    execution, _ = _begun(session)
    assert not end_attempt(session, execution, AttemptEnd(key=attempt_key("report"), state="succeeded"))


def test_a_retry_says_when_and_why_and_escalates_nothing(session) -> None:
    execution, row = _begun(session)
    end = AttemptEnd(
        key=attempt_key(), state="retrying", error_type="transient", error_code="exit-75", message="busy",
        retry_delay_seconds=1.0, retry_reason="retry 1 of 3 in 1 s",
    )  # fmt: skip
    assert end_attempt(session, execution, end)
    assert (row.retry_delay_seconds, row.retry_reason, row.error_type) == (1.0, "retry 1 of 3 in 1 s", "transient")
    assert _kinds(session)[-2:] == ["attempt.end", "retry"]
    assert session.scalars(select(OutboxRow)).all() == []


def test_a_failure_for_good_is_in_the_outbox_in_the_same_transaction(session) -> None:
    execution, _ = _begun(session)
    end = AttemptEnd(
        key=attempt_key(), state="failed", error_type="permanent", error_code="exit-65", message="bad data"
    )
    assert end_attempt(session, execution, end)
    told = session.scalars(select(OutboxRow)).one()
    assert (told.kind, told.payload["step"], told.payload["code"]) == ("failure", "inventory", "exit-65")
    assert _kinds(session)[-1] == "escalation"
    session.rollback()
    assert session.scalars(select(OutboxRow)).all() == []
    assert session.scalars(select(AttemptRow)).one().state == "running"


def test_events_are_stored_once_in_order_whatever_comes_twice(session) -> None:
    execution, row = _begun(session)
    assert record_events(session, execution, row, _events(2, 1)) == 2
    assert record_events(session, execution, row, _events(1, 2, 3)) == 3
    assert record_events(session, execution, row, _events(5)) == 3, "an event after a gap waits for what is missing"
    assert record_events(session, execution, row, _events(4, 5)) == 5
    assert _kinds(session).count("action") == 5


def test_events_of_the_verdict_follow_those_that_were_sent(session) -> None:
    execution, row = _begun(session)
    record_events(session, execution, row, _events(1))
    end_attempt(session, execution, AttemptEnd(key=attempt_key(), state="succeeded", events=_events(1, 2)))
    assert row.events_seen == 2
    assert _kinds(session)[-3:] == ["action", "action", "attempt.end"]


def test_heartbeats_are_signs_of_life_and_not_kept(session) -> None:
    execution, row = _begun(session)
    beat = {"seq": 0, "time": "2026-11-25T08:00:01+00:00", "event": "heartbeat"}
    assert record_events(session, execution, row, [beat]) == 0
    assert row.heartbeat_at is not None
    assert "heartbeat" not in _kinds(session)


def test_an_event_of_an_unknown_name_is_a_note(session) -> None:
    execution, row = _begun(session)
    record_events(session, execution, row, [{"seq": 1, "time": "2026-11-25T08:00:01+00:00", "event": "odd", "x": 1}])
    last = entries_of(session, NAME)[-1]
    assert (last.kind, last.metadata) == ("note", {"event": "odd", "x": 1})


def test_two_who_bring_the_same_events_store_them_once(sessions) -> None:
    with sessions() as session:
        _begun(session)

    def bring(_: int) -> None:
        with sessions() as session:
            execution = session.scalars(select(ExecutionRow)).one()
            attempt = session.scalars(select(AttemptRow)).one()
            record_events(session, execution, attempt, _events(*range(1, 11)))
            session.commit()

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(bring, range(4)))
    with sessions() as session:
        assert _kinds(session).count("action") == 10
