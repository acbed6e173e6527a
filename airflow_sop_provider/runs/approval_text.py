"""What Airflow's Required Actions show of an approval: the question, what it is about, what has been said so far."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from airflow_sop_provider.engine.approvals import Answer, ApprovalPolicy
from airflow_sop_provider.runs.approval_subject import Subject
from airflow_sop_provider.runs.people import Approvers
from airflow_sop_provider.store.control_tables import ApprovalRow

__all__ = ["APPROVE", "OPTIONS", "REJECT", "request_fields"]

APPROVE = "Approve"
REJECT = "Reject"
OPTIONS = (APPROVE, REJECT)
"""As Airflow's own ApprovalOperator names them."""

_SHOWN_CHARACTERS = 4000
_SO_FAR = "## Answers so far"


def request_fields(row: ApprovalRow, said: Sequence[Answer], people: Approvers, subject: Subject) -> dict[str, Any]:
    """Return the columns of Airflow's request.

    Airflow itself then refuses who may not answer where all users are known here: those not named, those who have
    answered, and the requester where they may not. Our own check afterwards does not depend on it.
    """
    policy = ApprovalPolicy.of(row.policy)
    title = row.question["title"]
    given = sum(answer.choice == "approved" for answer in said)
    body = [*_about(row, policy, subject), *_said(said), *_warnings(row, people)]
    return {
        "subject": title if policy.quorum == 1 else f"{title} ({given} of {policy.quorum})",
        "params": _params(policy),
        "assignees": _assignees(row, said, people, policy),
        "defaults": None,
        "body": "\n\n".join(body),
    }


def _assignees(
    row: ApprovalRow, said: Sequence[Answer], people: Approvers, policy: ApprovalPolicy
) -> list[dict[str, str]]:
    if not people.complete:
        return []  # Airflow compares ids, which we do not know
    out = {answer.person.id for answer in said}
    barred = row.requester if policy.not_by == "requester" else None
    return [
        {"id": person.id, "name": person.name}
        for person in people.people
        if person.id not in out and person.name != barred
    ]


def _params(policy: ApprovalPolicy) -> dict[str, Any]:
    return {
        "comment": _param("", "Comment; recorded with your signature.", "Comment", 4000),
        "meaning": _param(policy.meaning, "What your signature states.", "Meaning", 1000),
    }


def _param(value: str, description: str, title: str, limit: int) -> dict[str, Any]:
    schema = {"type": ["string", "null"], "title": title, "maxLength": limit}
    return {"value": value, "description": description, "schema": schema, "source": "task"}


def _about(row: ApprovalRow, policy: ApprovalPolicy, subject: Subject) -> Iterator[str]:
    for name in ("question", "guidance"):
        if row.question.get(name):
            yield str(row.question[name])
    people = "one of them" if policy.quorum == 1 else f"{policy.quorum} of them"
    barred = "; who triggered the execution may not" if policy.not_by else ""
    yield f"**May approve:** {', '.join(policy.by)}, {people}{barred}."
    if row.expires_at is not None:
        yield f"**Until:** {row.expires_at:%Y-%m-%d %H:%M:%S} UTC ({policy.on_expiry})."
    yield from _json("Inputs", subject.inputs)
    if subject.item is not None:
        yield from _json("Item", subject.item)
    for step, outputs in subject.outputs.items():
        yield from _json(f"Result of `{step}`", outputs)
    yield f"Approval {row.id}, of exactly this: `{row.subject_digest}`"


def _json(title: str, value: Mapping[str, Any] | object) -> Iterator[str]:
    text = json.dumps(value, indent=2, ensure_ascii=False, default=str)
    if len(text) > _SHOWN_CHARACTERS:
        text = f"{text[:_SHOWN_CHARACTERS]}\n... {len(text)} characters in all; see the step's XCom"
    yield f"**{title}**\n\n```json\n{text.replace('```', '` ` `')}\n```"


def _said(said: Sequence[Answer]) -> Iterator[str]:
    if said:
        yield _SO_FAR
        lines = [
            f"- {answer.person.name} {answer.choice} at {answer.at:%Y-%m-%d %H:%M:%S} UTC"
            + (f": {answer.comment}" if answer.comment else "")
            for answer in said
        ]
        yield "\n".join(lines)


def _warnings(row: ApprovalRow, people: Approvers) -> Iterator[str]:
    if row.expired_at is not None:
        yield "**The time to answer is over.**"
    if people.complete and not people.people:
        yield "**Nobody of this Airflow may answer: no user, group or role is named so.**"
