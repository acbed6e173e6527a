"""Approvals: what waits for people, what they have said, and answers to it.

Who is named by an approval may answer it, if Airflow lets them answer requests of the SOP's DAG at all. An answer that
does not count is refused with its reason and recorded; it changes nothing else.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from airflow.api_fastapi.common.db.common import SessionDep
from fastapi import APIRouter, HTTPException, Query, status
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy.orm import Session

from airflow_sop_provider.api.access import CanAnswer, CanRead, GetUserDep, ReadableSops
from airflow_sop_provider.api.models import RowId
from airflow_sop_provider.contract.approval import Choice
from airflow_sop_provider.engine.approvals import Person, refusal
from airflow_sop_provider.runs.answering import give_answer
from airflow_sop_provider.runs.approvals import named
from airflow_sop_provider.store.approvals import (
    ApprovalState,
    answers_of,
    list_approvals,
    locked,
    policy_of,
)
from airflow_sop_provider.store.control_tables import ApprovalRow
from airflow_sop_provider.store.execution_tables import ExecutionRow

__all__ = ["router"]

router = APIRouter(tags=["approvals"])

_NUMBER = Annotated[int, Query(ge=1, le=2**62)]


class AnswerRequest(BaseModel):
    """What the caller says.

    :param meaning: what the signature states; what the SOP says if left out.
    """

    model_config = ConfigDict(extra="forbid")

    choice: Choice
    comment: str | None = Field(default=None, max_length=4000)
    meaning: str | None = Field(default=None, min_length=1, max_length=1000)


class GivenAnswer(BaseModel):
    """What one person said."""

    by: str
    choice: Choice
    meaning: str
    comment: str | None
    at: datetime


class Approval(BaseModel):
    """A question to people.

    :param question: title, question and guidance as they were asked.
    :param policy: the step's field ``approval``.
    :param subject: SHA-256 of what exactly is approved.
    :param refusal: why an answer of the caller would not count; None if it would.
    """

    id: int
    sop: str
    run_id: str
    step: str
    map_index: int
    state: ApprovalState
    question: dict[str, Any]
    policy: dict[str, Any]
    subject: str
    requester: str | None
    answers: list[GivenAnswer]
    asked_at: datetime
    expires_at: datetime | None
    expired_at: datetime | None
    ended_at: datetime | None
    refusal: str | None


class ApprovalPage(BaseModel):
    """Some approvals, the newest first.

    :param next_before: give it as ``before`` for those after them; None if there are none.
    """

    approvals: list[Approval]
    next_before: int | None


@router.get("/approvals")
def get_approvals(
    session: SessionDep,
    readable: ReadableSops,
    user: GetUserDep,
    sop: str | None = None,
    run_id: str | None = None,
    approval: _NUMBER | None = None,
    state: Literal["waiting", "approved", "rejected", "expired", "void"] | None = None,
    mine: bool = False,
    before: _NUMBER | None = None,
    limit: Annotated[int, Query(ge=1, le=500)] = 100,
) -> ApprovalPage:
    """List approvals of executions that the caller may see, the newest first.

    :param approval: the one of this number.
    :param mine: of this page only those that the caller may answer.
    """
    sops = readable if sop is None else readable & {sop}
    found = list_approvals(session, sops, number=approval, state=state, run_id=run_id, before=before, limit=limit + 1)
    shown = [_shown(session, row, execution, _person(user)) for row, execution in found[:limit]]
    return ApprovalPage(
        approvals=[one for one in shown if not mine or one.refusal is None],
        next_before=found[limit - 1][0].id if len(found) > limit else None,
    )


@router.get("/sops/{dag_id}/approvals/{approval_id}", dependencies=[CanRead])
def get_approval(dag_id: str, approval_id: RowId, session: SessionDep, user: GetUserDep) -> Approval:
    """Return an approval with what has been said."""
    row = session.get(ApprovalRow, approval_id)
    return _shown(session, *_of(session, row, dag_id, approval_id), _person(user))


@router.post("/sops/{dag_id}/approvals/{approval_id}/answers", dependencies=[CanAnswer])
def post_answer(
    dag_id: str, approval_id: RowId, body: AnswerRequest, session: SessionDep, user: GetUserDep
) -> Approval:
    """Answer as the caller: 403 if it does not count because of who that is, 409 if because of what has happened."""
    row, execution = _of(session, locked(session, approval_id), dag_id, approval_id)
    person, was = _person(user), row.state
    reason = give_answer(session, row, person, body.choice, body.meaning, body.comment)
    session.commit()  # also of a refused one, which an error below would undo
    if reason is not None:
        personal = was == row.state == "waiting" and _refusal(session, row, person) is not None
        code = status.HTTP_403_FORBIDDEN if personal else status.HTTP_409_CONFLICT
        raise HTTPException(code, f"The answer does not count: {reason}.")
    return _shown(session, row, execution, person)


def _of(session: Session, row: ApprovalRow | None, dag_id: str, approval_id: int) -> tuple[ApprovalRow, ExecutionRow]:
    execution = None if row is None else session.get(ExecutionRow, row.execution_id)
    if row is None or execution is None or execution.sop != dag_id:
        raise HTTPException(status.HTTP_404_NOT_FOUND, f"There is no approval {approval_id} of {dag_id}.")
    return row, execution


def _person(user: Any) -> Person:
    return Person(id=str(user.get_id()), name=user.get_name())


def _refusal(session: Session, row: ApprovalRow, person: Person) -> str | None:
    if row.state != "waiting":
        return f"it is {row.state}"
    is_named = named(session, row).include(person)
    answers = answers_of(session, row)
    return refusal(policy_of(row), person, is_named=is_named, requester=row.requester, answers=answers)


def _shown(session: Session, row: ApprovalRow, execution: ExecutionRow, person: Person) -> Approval:
    said = [
        GivenAnswer(by=one.person.name, choice=one.choice, meaning=one.meaning, comment=one.comment, at=one.at)
        for one in answers_of(session, row)
    ]
    return Approval(
        id=row.id,
        sop=execution.sop,
        run_id=execution.run_id,
        step=row.step,
        map_index=row.map_index,
        state=row.state,
        question=row.question,
        policy=row.policy,
        subject=row.subject_digest,
        requester=row.requester,
        answers=said,
        asked_at=row.asked_at,
        expires_at=row.expires_at,
        expired_at=row.expired_at,
        ended_at=row.ended_at,
        refusal=_refusal(session, row, person),
    )
