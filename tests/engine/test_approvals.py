"""Who may answer an approval, when it is decided, and what it is bound to."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_sop_provider.engine.approvals import (
    DEFAULT_MEANING,
    Answer,
    ApprovalPolicy,
    Person,
    decided,
    refusal,
    step_outputs,
    subject_digest,
)

AT = datetime(2026, 11, 25, 12, tzinfo=UTC)
ANNA, BOB = Person(id="1", name="anna"), Person(id="2", name="bob")


def answer(person: Person, choice: Any = "approved", comment: str | None = None) -> Answer:
    return Answer(person=person, choice=choice, meaning="I have looked", comment=comment, at=AT)


def test_policy_of_a_payload_takes_defaults_for_what_is_left_out() -> None:
    policy = ApprovalPolicy.of({"by": ["lead"], "question": "Go?"})
    assert (policy.by, policy.quorum, policy.not_by, policy.meaning) == (("lead",), 1, None, DEFAULT_MEANING)
    assert (policy.expires_seconds, policy.on_expiry, policy.on_reject) == (None, "escalate", "fail")
    assert ApprovalPolicy.of({"by": ["lead"], "expires": "1h30m", "quorum": 2}).expires_seconds == 5400


@pytest.mark.parametrize(
    ("person", "is_named", "requester", "answers", "reason"),
    [
        (ANNA, True, None, [], None),
        (ANNA, True, "bob", [], None),
        (ANNA, False, None, [], "anna is not among those who may approve: lead"),
        (ANNA, True, "anna", [], "anna triggered the execution, and who did may not approve it"),
        (ANNA, True, "1", [], "anna triggered the execution, and who did may not approve it"),
        (ANNA, True, None, [answer(ANNA)], "anna has answered already; 2 different people are needed"),
        (ANNA, True, None, [answer(Person(id="9", name="anna"))], "anna has answered already"),
        (ANNA, True, None, [answer(BOB)], None),
    ],
)
def test_who_may_answer(person: Person, is_named: bool, requester: str | None, answers: Any, reason: Any) -> None:
    policy = ApprovalPolicy(by=("lead",), not_by="requester", quorum=2)
    found = refusal(policy, person, is_named=is_named, requester=requester, answers=answers)
    assert found is None if reason is None else found is not None and found.startswith(reason)


def test_the_requester_may_approve_where_the_sop_does_not_say_otherwise() -> None:
    assert refusal(ApprovalPolicy(by=("lead",)), ANNA, is_named=True, requester="anna", answers=[]) is None


def test_it_takes_as_many_different_people_as_the_quorum_and_one_rejection() -> None:
    policy = ApprovalPolicy(by=("lead",), quorum=2)
    assert decided(policy, []) is None
    assert decided(policy, [answer(ANNA)]) is None
    assert decided(policy, [answer(ANNA), answer(ANNA)]) is None
    assert decided(policy, [answer(ANNA), answer(BOB)]) == "approved"
    assert decided(policy, [answer(ANNA), answer(BOB, "rejected")]) == "rejected"


def test_outputs_name_who_decided_and_hold_every_answer() -> None:
    said = [answer(ANNA, comment="fine"), answer(BOB, "rejected", "no")]
    outputs = step_outputs(7, "d" * 64, "rejected", said)
    assert (outputs["choice"], outputs["by"], outputs["comment"], outputs["at"]) == (
        "rejected", ["bob"], "no", AT.isoformat(),
    )  # fmt: skip
    assert [one["by"] for one in outputs["answers"]] == ["anna", "bob"]
    assert (outputs["approval"], outputs["subject"]) == (7, "d" * 64)


SUBJECT: dict[str, Any] = {
    "document": "a" * 64, "step": "sign", "inputs": {"n": 1}, "outputs": {"first": {"v": 2}}, "item": None,
}  # fmt: skip


@pytest.mark.parametrize(
    "change",
    [
        {"document": "b" * 64}, {"step": "other"}, {"inputs": {"n": 2}}, {"inputs": {"n": 1, "m": 1}},
        {"outputs": {"first": {"v": 3}}}, {"outputs": {}}, {"item": "x"},
    ],
)  # fmt: skip
def test_whatever_changes_changes_the_digest(change: dict[str, Any]) -> None:
    assert subject_digest(**SUBJECT) != subject_digest(**{**SUBJECT, **change})


def test_the_digest_does_not_depend_on_the_order_of_keys() -> None:
    one = subject_digest(**{**SUBJECT, "inputs": {"a": 1, "b": 2}})
    assert one == subject_digest(**{**SUBJECT, "inputs": {"b": 2, "a": 1}})


PEOPLE = [Person(id=str(number), name=name) for number, name in enumerate(("anna", "bob", "carl", "dora"))]


@given(
    said=st.lists(st.tuples(st.sampled_from(PEOPLE), st.sampled_from(["approved", "rejected"])), max_size=12),
    named=st.sets(st.sampled_from(PEOPLE)),
    requester=st.sampled_from([None, "anna", "3"]),
    quorum=st.integers(1, 4),
    barred=st.booleans(),
)
def test_no_order_of_answers_decides_without_the_people_that_the_terms_ask_for(
    said: Any, named: set[Person], requester: str | None, quorum: int, barred: bool
) -> None:
    policy = ApprovalPolicy(by=("lead",), quorum=quorum, not_by="requester" if barred else None)
    counted: list[Answer] = []
    for person, choice in said:
        if decided(policy, counted) is None:
            one = answer(person, choice)
            if refusal(policy, person, is_named=person in named, requester=requester, answers=counted) is None:
                counted.append(one)
    people = [one.person for one in counted]
    assert len(people) == len(set(people))
    assert set(people) <= named
    if barred:
        assert all(requester not in (person.id, person.name) for person in people)
    outcome = decided(policy, counted)
    approving = {one.person for one in counted if one.choice == "approved"}
    assert (outcome == "rejected") == any(one.choice == "rejected" for one in counted)
    assert outcome != "approved" or len(approving) == quorum
    assert outcome is not None or len(approving) < quorum
