"""Approvals in the tables: each answer is judged, each fact is in the audit chain, on both databases."""

from __future__ import annotations

import threading
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Engine, select
from sqlalchemy.orm import Session, sessionmaker

from airflow_sop_provider.engine.approvals import Answer, Person
from airflow_sop_provider.store.approvals import (
    Asked,
    answers_of,
    approval_of_task,
    ask,
    expire,
    last_of_step,
    locked,
    outputs_of,
    take_answer,
    void,
    void_waiting,
)
from airflow_sop_provider.store.base import utc_now
from airflow_sop_provider.store.executions import open_execution
from airflow_sop_provider.store.tables import ApprovalRow, ExecutionRow, OutboxRow
from tests.store.facts import attempt_key, context_of, entries_of, run_facts

ANNA, BOB = Person(id="1", name="anna"), Person(id="2", name="bob")
DIGEST = "d" * 64


@pytest.fixture
def execution(session: Session) -> ExecutionRow:
    row = open_execution(session, run_facts(), context_of())
    session.commit()
    return row


def asked(attempt: int = 1, digest: str = DIGEST, **approval: Any) -> Asked:
    terms = {"by": ["lead"], **approval}
    return Asked(
        key=attempt_key("sign", attempt), approval=terms, question={"title": "Sign"}, digest=digest, requester="ada"
    )


def answer(person: Person = ANNA, choice: Any = "approved") -> Answer:
    return Answer(person=person, choice=choice, meaning="I have looked", comment="fine", at=utc_now())


def say(session: Session, execution: ExecutionRow, row: ApprovalRow, said: Answer, **changes: Any) -> str | None:
    found = locked(session, row.id)
    assert found is not None
    return take_answer(session, execution, found, said, **{"is_named": True, "way": "api", **changes})


def events(session: Session, execution: ExecutionRow) -> list[str]:
    return [entry.metadata["event"] for entry in entries_of(session, execution.name) if entry.kind == "approval"]


def test_one_approval_decides_and_everything_is_in_the_chain(session: Session, execution: ExecutionRow) -> None:
    row = ask(session, execution, asked())
    assert (row.state, row.expires_at) == ("waiting", None)
    assert say(session, execution, row, answer()) is None
    assert row.state == "approved"
    assert outputs_of(session, row)["by"] == ["anna"]
    assert events(session, execution) == ["asked", "answered", "approved"]
    said = next(entry for entry in entries_of(session, execution.name) if entry.metadata.get("event") == "answered")
    assert said.component == "user:anna"
    assert {"meaning": "I have looked", "comment": "fine", "subject": DIGEST}.items() <= said.metadata.items()


@pytest.mark.parametrize(
    ("person", "changes", "terms", "reason"),
    [
        (ANNA, {"is_named": False}, {}, "not among those"),
        (Person(id="5", name="ada"), {}, {"not_by": "requester"}, "triggered the execution"),
    ],
)
def test_an_answer_that_does_not_count_changes_nothing_and_is_audited(
    session: Session, execution: ExecutionRow, person: Person, changes: Any, terms: Any, reason: str
) -> None:
    row = ask(session, execution, asked(**terms))
    found = say(session, execution, row, answer(person), **changes)
    assert found is not None
    assert reason in found
    assert (row.state, answers_of(session, row)) == ("waiting", [])
    entry = entries_of(session, execution.name)[-1]
    assert (entry.metadata["event"], entry.level, entry.component) == ("refused", "warning", f"user:{person.name}")


def test_a_quorum_takes_different_people(session: Session, execution: ExecutionRow) -> None:
    row = ask(session, execution, asked(quorum=2))
    assert say(session, execution, row, answer(ANNA)) is None
    assert row.state == "waiting"
    assert "answered already" in str(say(session, execution, row, answer(ANNA)))
    assert row.state == "waiting"
    assert say(session, execution, row, answer(BOB)) is None
    assert row.state == "approved"
    assert "approved already" in str(say(session, execution, row, answer(Person(id="3", name="eve"))))


def test_one_rejection_decides(session: Session, execution: ExecutionRow) -> None:
    row = ask(session, execution, asked(quorum=3))
    say(session, execution, row, answer(ANNA))
    say(session, execution, row, answer(BOB, "rejected"))
    assert row.state == "rejected"
    assert outputs_of(session, row)["by"] == ["bob"]


def test_asking_again_for_the_same_task_is_the_same_question(session: Session, execution: ExecutionRow) -> None:
    first = ask(session, execution, asked())
    assert ask(session, execution, asked()) is first
    assert events(session, execution) == ["asked"]


def test_an_approval_stands_while_nothing_has_changed(session: Session, execution: ExecutionRow) -> None:
    row = ask(session, execution, asked())
    say(session, execution, row, answer())
    again = ask(session, execution, asked(attempt=2))
    assert (again.id, again.state) == (row.id, "approved")
    assert again.task_instance_id == attempt_key("sign", 2).task_instance_id
    assert events(session, execution)[-1] == "stands"


@pytest.mark.parametrize("choice", ["approved", "rejected"])
def test_a_changed_subject_needs_a_new_approval(session: Session, execution: ExecutionRow, choice: str) -> None:
    row = ask(session, execution, asked())
    say(session, execution, row, answer(choice=choice))
    again = ask(session, execution, asked(attempt=2, digest="e" * 64))
    assert (row.state, again.state) == ("void", "waiting")
    assert last_of_step(session, execution.id, "sign") is again
    assert answers_of(session, again) == []
    assert events(session, execution)[-2:] == ["void", "asked"]


def test_a_rejection_does_not_stand(session: Session, execution: ExecutionRow) -> None:
    row = ask(session, execution, asked())
    say(session, execution, row, answer(choice="rejected"))
    assert ask(session, execution, asked(attempt=2)).state == "waiting"


@pytest.mark.parametrize(
    ("on_expiry", "state", "refused"),
    [("escalate", "waiting", False), ("block", "expired", True), ("fail", "expired", True)],
)
def test_expiry_tells_somebody_once_and_does_as_the_sop_says(
    session: Session, execution: ExecutionRow, on_expiry: str, state: str, refused: bool
) -> None:
    row = ask(session, execution, asked(expires="1h", on_expiry=on_expiry))
    assert row.expires_at is not None
    assert row.expires_at - row.asked_at == timedelta(hours=1)
    for _ in range(2):
        expire(session, execution, row, row.expires_at)
    assert (row.state, row.expired_at) == (state, row.expires_at)
    told = session.scalars(select(OutboxRow)).all()
    assert [(one.kind, one.payload["approval"], one.payload["on_expiry"]) for one in told] == [
        ("approval", row.id, on_expiry)
    ]
    assert [entry.kind for entry in entries_of(session, execution.name)][-2:] == ["approval", "escalation"]
    assert (say(session, execution, row, answer()) is not None) is refused


def test_what_an_execution_that_is_over_waited_for_is_void(session: Session, execution: ExecutionRow) -> None:
    row = ask(session, execution, asked())
    assert void_waiting(session, execution, "the execution is over") == 1
    assert row.state == "void"
    assert not void(session, execution, row, "again")
    assert void_waiting(session, execution, "the execution is over") == 0


def test_a_task_finds_its_last_question(session: Session, execution: ExecutionRow) -> None:
    row = ask(session, execution, asked())
    void(session, execution, row, "changed")
    again = ask(session, execution, asked(digest="e" * 64))
    found = approval_of_task(session, row.task_instance_id)
    assert found is not None
    assert found.id == again.id
    assert approval_of_task(session, "no-such-task") is None


def test_two_answers_at_one_moment_are_judged_one_after_the_other(
    engine: Engine, sessions: sessionmaker[Session], session: Session, execution: ExecutionRow
) -> None:
    row = ask(session, execution, asked())
    session.commit()
    start = threading.Barrier(4)
    found: list[str | None] = []

    def one(number: int) -> None:
        start.wait()
        with sessions.begin() as own:
            held = locked(own, row.id)
            assert held is not None
            mine = own.get_one(ExecutionRow, execution.id)
            said = answer(Person(id=str(number), name=f"user{number}"))
            found.append(take_answer(own, mine, held, said, is_named=True, way="api"))

    threads = [threading.Thread(target=one, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(reason is None for reason in found) == [False, False, False, True]
    session.expire_all()
    assert len(answers_of(session, row)) == 1
    assert events(session, execution).count("approved") == 1
