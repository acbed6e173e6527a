"""The outbox on its way out: one delivery for each channel, claimed, settled, tried again, given up."""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import select
from sqlalchemy.orm import Session

from airflow_sop_provider.store.deliveries import backoff, channel_of, claim, deliveries_of, settle, spread
from airflow_sop_provider.store.executions import open_execution
from airflow_sop_provider.store.outbox import put
from airflow_sop_provider.store.tables import DeliveryRow, ExecutionRow
from tests.store.facts import SUBMITTED, context_of, entries_of, run_facts

MAIL = {"notifier": "a.Mail", "kwargs": {"to": "ops@example.com"}}
CHAT = {"notifier": "a.Chat", "kwargs": {}}
SOP = "software-licence-review"


def seconds(count: float) -> timedelta:
    return timedelta(seconds=count)


def opened(session: Session, *channels: dict) -> ExecutionRow:
    return open_execution(session, run_facts(), context_of().model_copy(update={"escalation": channels}))


def rows(session: Session) -> list[DeliveryRow]:
    return list(session.scalars(select(DeliveryRow).order_by(DeliveryRow.id)))


def test_a_fact_goes_once_to_each_channel_of_its_sop_and_the_site(session) -> None:
    execution = opened(session, MAIL, CHAT)
    assert put(session, "failure", "f:1", {"message": "x"}, execution_id=execution.id)
    assert not put(session, "failure", "f:1", {"message": "x"}, execution_id=execution.id)
    assert put(session, "broken", "b:1", {"message": "y"})
    assert spread(session, [CHAT], SUBMITTED) == 3
    assert spread(session, [CHAT, MAIL], SUBMITTED) == 0
    assert [row.target["notifier"] for row in rows(session)] == ["a.Mail", "a.Chat", "a.Chat"]


def test_channels_differ_by_their_arguments_and_do_not_show_them() -> None:
    other = channel_of({**MAIL, "kwargs": {"to": "cfo@example.com"}})
    assert channel_of(MAIL) != other
    assert "example.com" not in other


def test_waiting_doubles_from_a_second_to_five_minutes() -> None:
    waits = [backoff(tries).total_seconds() for tries in range(1, 12)]
    assert waits == [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300]
    assert backoff(5000) == seconds(300)


def test_a_claim_is_one_and_ends_by_itself(session) -> None:
    execution = opened(session, MAIL)
    put(session, "failure", "f:1", {"message": "x"}, execution_id=execution.id)
    spread(session, [], SUBMITTED)
    first = claim(session, SUBMITTED, per_minute=9)
    assert first is not None
    assert first.message == {"message": "x", "kind": "failure", "id": "f:1"}
    assert claim(session, SUBMITTED + seconds(60), per_minute=9) is None
    again = claim(session, SUBMITTED + seconds(121), per_minute=9)
    assert again is not None
    assert (again.id, again.tries) == (first.id, 2)


def test_it_is_given_up_after_its_tries_and_the_audit_log_says_so(session) -> None:
    execution = opened(session, MAIL)
    put(session, "failure", "f:1", {"message": "x"}, execution_id=execution.id)
    spread(session, [], SUBMITTED)
    now, states = SUBMITTED, []
    for wait in (1, 2, 4):
        claimed = claim(session, now, per_minute=9)
        states.append(settle(session, claimed, "no route", now, max_tries=3))
        assert claim(session, now + seconds(wait - 0.1), per_minute=9) is None
        now += seconds(wait)
    assert states == ["pending", "pending", "dead"]
    assert claim(session, now + seconds(9999), per_minute=9) is None
    [(delivery, fact, about)] = deliveries_of(session, {SOP}, state="dead")
    assert (delivery.last_error, fact.dedupe_key, about.id) == ("no route", "f:1", execution.id)
    last = entries_of(session, execution.name)[-1]
    assert (last.kind, last.level) == ("escalation", "error")
    assert "could not be told in 3 tries" in last.message


def test_what_was_delivered_stays_so_whoever_settles_late(session) -> None:
    execution = opened(session, MAIL)
    put(session, "failure", "f:1", {"message": "x"}, execution_id=execution.id)
    spread(session, [], SUBMITTED)
    claimed = claim(session, SUBMITTED, per_minute=9)
    assert settle(session, claimed, None, SUBMITTED, max_tries=3) == "delivered"
    assert settle(session, claimed, "late", SUBMITTED, max_tries=1) == "delivered"
    assert claim(session, SUBMITTED + seconds(9999), per_minute=9) is None
    assert [entry.level for entry in entries_of(session, execution.name) if entry.kind == "escalation"] == ["info"]


def test_a_channel_is_told_so_often_a_minute_and_others_do_not_wait(session) -> None:
    execution = opened(session, MAIL)
    for number in range(3):
        put(session, "failure", f"f:{number}", {}, execution_id=execution.id)
    put(session, "failure", "other", {})
    spread(session, [CHAT], SUBMITTED)
    told = []
    while claimed := claim(session, SUBMITTED, per_minute=2):
        settle(session, claimed, None, SUBMITTED, max_tries=3)
        told.append(claimed.target["notifier"])
    assert sorted(told) == ["a.Chat"] * 2 + ["a.Mail"] * 2
    assert claim(session, SUBMITTED + seconds(61), per_minute=2) is not None


def test_only_those_of_readable_sops_are_listed(session) -> None:
    execution = opened(session, MAIL)
    put(session, "failure", "f:1", {}, execution_id=execution.id)
    spread(session, [], SUBMITTED)
    assert len(deliveries_of(session, {SOP})) == 1
    assert deliveries_of(session, {"another"}) == []
    assert deliveries_of(session, {SOP}, state="dead") == []
