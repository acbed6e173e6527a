"""The rules of an approval: who may answer, when it is decided, and what exactly it is about.

Pure, so that every way an answer can come (Airflow's Required Actions, its REST API, ours, the command line) is judged
by the same lines.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from airflow_sop_provider.audit.canonical import canonical, jsonable
from airflow_sop_provider.contract.approval import Choice
from airflow_sop_provider.sop.durations import parse_duration

__all__ = [
    "DEFAULT_MEANING",
    "Answer",
    "ApprovalPolicy",
    "Person",
    "decided",
    "refusal",
    "step_outputs",
    "subject_digest",
]

DEFAULT_MEANING = "I have reviewed the inputs and results shown and approve that the procedure goes on."
"""What a signature states where the SOP does not say it."""


@dataclass(frozen=True)
class Person:
    """A user as Airflow's auth manager knows them.

    :param id: what `get_id` gives; unique.
    :param name: what `get_name` gives: the user name.
    """

    id: str
    name: str


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What one person said."""

    person: Person
    choice: Choice
    meaning: str
    comment: str | None = None
    at: datetime


@dataclass(frozen=True, kw_only=True)
class ApprovalPolicy:
    """The field ``approval`` of a step.

    :param expires_seconds: time to answer; None: for ever.
    """

    by: tuple[str, ...]
    not_by: Literal["requester"] | None = None
    quorum: int = 1
    meaning: str = DEFAULT_MEANING
    expires_seconds: float | None = None
    on_expiry: Literal["escalate", "block", "fail"] = "escalate"
    on_reject: Literal["fail", "continue"] = "fail"

    @classmethod
    def of(cls, approval: Mapping[str, Any]) -> ApprovalPolicy:
        """Return the policy from the field as it stands in a payload (defaults left out)."""
        fields = {name: value for name, value in approval.items() if name not in ("question", "expires", "by")}
        expires = approval.get("expires")
        seconds = None if expires is None else parse_duration(expires).total_seconds()
        return cls(by=tuple(approval["by"]), expires_seconds=seconds, **fields)


def refusal(
    policy: ApprovalPolicy,
    person: Person,
    *,
    is_named: bool,
    requester: str | None,
    answers: Iterable[Answer],
) -> str | None:
    """Return why this person's answer does not count, None if it does.

    :param is_named: whether ``by`` names them, their group or their role.
    :param requester: name of who triggered the execution, None where nobody did.
    :param answers: those that count already.
    """
    if not is_named:
        return f"{person.name} is not among those who may approve: {', '.join(policy.by)}"
    if policy.not_by == "requester" and requester is not None and requester in (person.id, person.name):
        return f"{person.name} triggered the execution, and who did may not approve it"
    if any(_same(person, answer.person) for answer in answers):
        return f"{person.name} has answered already; {policy.quorum} different people are needed"
    return None


def decided(policy: ApprovalPolicy, answers: Sequence[Answer]) -> Choice | None:
    """Return what the answers come to: one rejection decides, else as many approvals as the quorum; None: not yet."""
    if any(answer.choice == "rejected" for answer in answers):
        return "rejected"
    people = {answer.person.id for answer in answers}
    return "approved" if len(people) >= policy.quorum else None


def step_outputs(approval_id: int, digest: str, choice: Choice, answers: Sequence[Answer]) -> dict[str, Any]:
    """Return the outputs of the step.

    :param digest: of what was approved; see `subject_digest`.
    """
    said = [answer for answer in answers if answer.choice == choice]
    last = said[-1]
    return {
        "choice": choice,
        "by": [answer.person.name for answer in said],
        "comment": last.comment,
        "meaning": last.meaning,
        "at": last.at.isoformat(),
        "answers": [
            {
                "by": answer.person.name,
                "choice": answer.choice,
                "meaning": answer.meaning,
                "comment": answer.comment,
                "at": answer.at.isoformat(),
            }
            for answer in answers
        ],
        "approval": approval_id,
        "subject": digest,
    }


def subject_digest(
    *, document: str, step: str, inputs: Mapping[str, Any], outputs: Mapping[str, Any], item: object = None
) -> str:
    """Return the SHA-256 (hex) of what an approval is about; whatever changes of it needs a new one.

    :param document: SHA-256 of the SOP's document, which holds the steps and the approval's own terms.
    :param outputs: of all steps before it.
    :param item: of a ``for_each``.
    """
    subject = {"document": document, "step": step, "inputs": inputs, "outputs": outputs, "item": item}
    return hashlib.sha256(canonical(jsonable(subject))).hexdigest()


def _same(one: Person, other: Person) -> bool:
    return one.id == other.id or one.name == other.name
