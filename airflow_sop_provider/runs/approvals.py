"""Approvals and Airflow's human-in-the-loop requests: what is asked there, what was answered, and whether it counts.

Airflow knows one answer for each task. Here it is only where an answer comes from: it is judged, recorded in our
tables, and the request opened again until our tables say that it is decided. Nothing else ends an approval, so an
answer by the wrong person, or a second one by the same, changes nothing whichever way it came.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

from airflow.models.hitl import HITLDetail
from sqlalchemy.orm import Session

from airflow_sop_provider.airflow_settings import approver_groups
from airflow_sop_provider.contract.approval import Settled
from airflow_sop_provider.contract.attempt import AttemptKey
from airflow_sop_provider.contract.payload import StepPayload
from airflow_sop_provider.engine.approvals import Answer, Person
from airflow_sop_provider.runs.approval_subject import Subject, subject_of
from airflow_sop_provider.runs.approval_text import APPROVE, OPTIONS, request_fields
from airflow_sop_provider.runs.opening import opened
from airflow_sop_provider.runs.people import Approvers, approvers
from airflow_sop_provider.store.approvals import (
    Asked,
    answers_of,
    approval_of_task,
    ask,
    expire,
    outputs_of,
    policy_of,
    take_answer,
    void,
)
from airflow_sop_provider.store.base import utc_now
from airflow_sop_provider.store.control_tables import ApprovalRow
from airflow_sop_provider.store.execution_tables import ExecutionRow

__all__ = ["ask_people", "named", "settle", "show_request", "standing_of", "take_response"]


def ask_people(session: Session, key: AttemptKey, payload: StepPayload, question: Mapping[str, Any]) -> Settled:
    """Ask for the approval that a task waits for, also in Airflow's Required Actions; say where it stands.

    :param question: `ApprovalQuestion` as JSON, from the step's runner.
    :raises LookupError: Airflow has no such run.
    """
    execution = _execution(session, key)
    subject = subject_of(session, key, payload)
    asked = Asked(
        key=key,
        approval=payload.step["approval"],
        question=question,
        digest=subject.digest,
        requester=subject.requester,
    )
    row = ask(session, execution, asked)
    if _is_open(row):
        show_request(session, row, subject)
    return standing_of(session, row)


def settle(session: Session, key: AttemptKey, payload: StepPayload) -> Settled:
    """Judge what was answered in Airflow, and say where the approval stands.

    :raises LookupError: Airflow has no such run.
    """
    execution = _execution(session, key)
    row = approval_of_task(session, key.task_instance_id)
    if row is None:
        return Settled(state="void", message="There is no question of this task")
    subject = subject_of(session, key, payload)
    if row.subject_digest != subject.digest:
        void(session, execution, row, "the inputs, the results before it or the SOP have changed")
        return standing_of(session, row)
    if row.state == "waiting":
        take_response(session, execution, row)
        _take_note_of_time(session, execution, row, utc_now())
    if _is_open(row):
        show_request(session, row, subject)
    return standing_of(session, row)


def standing_of(session: Session, row: ApprovalRow) -> Settled:
    """Return where an approval stands, for whoever carries its task."""
    policy = policy_of(row)
    if row.state in ("approved", "rejected"):
        outputs = outputs_of(session, row)
        message = f"{row.step} is {row.state} by {', '.join(outputs['by'])}"
        failed = row.state == "rejected" and policy.on_reject == "fail"
        return Settled(state=row.state, message=message, outputs=outputs, failed=failed)
    if row.state == "expired" and policy.on_expiry == "fail":
        return Settled(state="expired", message=f"Nobody has decided about {row.step} in time", failed=True)
    if row.state == "void":
        return Settled(state="void", message=f"What {row.step} was asked about has changed")
    wait = None
    if row.expires_at is not None and row.expired_at is None:
        wait = max(0.0, (row.expires_at - utc_now()).total_seconds())
    given = len(answers_of(session, row))
    message = f"Waiting for approval by {', '.join(policy.by)}: {given} of {policy.quorum}"
    return Settled(state="waiting", message=message, wait_seconds=wait)


def named(session: Session, row: ApprovalRow) -> Approvers:
    """Return whom an approval's terms name now."""
    return approvers(session, policy_of(row).by, approver_groups())


def show_request(session: Session, row: ApprovalRow, subject: Subject) -> None:
    """Put the question into Airflow's Required Actions, or open it there again with what has been said so far."""
    detail = session.get(HITLDetail, UUID(row.task_instance_id), populate_existing=True)
    shown = request_fields(row, answers_of(session, row), named(session, row), subject)
    if detail is None:
        session.add(HITLDetail(ti_id=UUID(row.task_instance_id), options=list(OPTIONS), multiple=False, **shown))
        session.flush()
        return
    for name, value in shown.items():
        setattr(detail, name, value)
    detail.responded_at = detail.responded_by = detail.chosen_options = None
    detail.params_input = {}
    session.flush()


def _is_open(row: ApprovalRow) -> bool:
    """Whether its task is to wait, be it for ever."""
    return row.state == "waiting" or (row.state == "expired" and policy_of(row).on_expiry == "block")


def _execution(session: Session, key: AttemptKey) -> ExecutionRow:
    execution = opened(session, key.sop, key.run_id)
    if execution is None:
        raise LookupError(f"Airflow has no run {key.run_id} of {key.sop}, or its tasks are no steps of an SOP")
    return execution


def take_response(session: Session, execution: ExecutionRow, row: ApprovalRow) -> None:
    """Judge what stands in Airflow's request; a timeout's default has no person, and we ask for none."""
    detail = session.get(HITLDetail, UUID(row.task_instance_id), populate_existing=True)
    if detail is None or detail.responded_at is None or detail.responded_by is None or not detail.chosen_options:
        return
    person = Person(id=str(detail.responded_by["id"]), name=str(detail.responded_by["name"]))
    given = detail.params_input or {}
    answer = Answer(
        person=person,
        choice="approved" if detail.chosen_options == [APPROVE] else "rejected",
        meaning=str(given.get("meaning") or policy_of(row).meaning),
        comment=str(given["comment"]) if given.get("comment") else None,
        at=detail.responded_at,
    )
    take_answer(session, execution, row, answer, is_named=named(session, row).include(person), way="required-actions")


def _take_note_of_time(session: Session, execution: ExecutionRow, row: ApprovalRow, now: datetime) -> None:
    if row.state == "waiting" and row.expires_at is not None and row.expires_at <= now:
        expire(session, execution, row, now)
