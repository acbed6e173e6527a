"""Approvals in the tables: asked, answered, decided, expired, void. Each with its audit entry, in one transaction.

Who changes one holds its row first, so two answers at one moment are judged one after the other.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal, cast

from sqlalchemy import select, update
from sqlalchemy.orm import Session, defer

from airflow_sop_provider.audit.entries import AuditFields, Level
from airflow_sop_provider.contract.approval import Choice
from airflow_sop_provider.contract.attempt import AttemptKey
from airflow_sop_provider.engine.approvals import Answer, ApprovalPolicy, Person, decided, refusal, step_outputs
from airflow_sop_provider.store import outbox
from airflow_sop_provider.store.audit_append import append
from airflow_sop_provider.store.base import utc_now
from airflow_sop_provider.store.control_tables import ApprovalAnswerRow, ApprovalRow
from airflow_sop_provider.store.execution_tables import ExecutionRow

__all__ = [
    "ApprovalState",
    "Asked",
    "answers_of",
    "approval_of_task",
    "ask",
    "expire",
    "last_of_step",
    "list_approvals",
    "locked",
    "outputs_of",
    "policy_of",
    "take_answer",
    "void",
    "void_waiting",
]

ApprovalState = Literal["waiting", "approved", "rejected", "expired", "void"]


@dataclass(frozen=True, kw_only=True)
class Asked:
    """A question to people.

    :param approval: the step's field ``approval``.
    :param question: `ApprovalQuestion` as JSON.
    :param digest: of what it is about.
    """

    key: AttemptKey
    approval: Mapping[str, Any]
    question: Mapping[str, Any]
    digest: str
    requester: str | None


def ask(session: Session, execution: ExecutionRow, asked: Asked) -> ApprovalRow:
    """Return the approval of a step, which is new unless there is one about exactly the same.

    One that was given stands while nothing of what it is about has changed, also for a task that was cleared; any other
    about the step is void from now on.
    """
    key = asked.key
    last = last_of_step(session, execution.id, key.step, key.map_index)
    if last is not None and last.subject_digest == asked.digest:
        if last.state == "approved" and last.task_instance_id != key.task_instance_id:
            return _stands(session, execution, last, key)
        if last.task_instance_id == key.task_instance_id and last.state != "void":
            return last
    if last is not None:
        void(session, execution, last, "the step is asked about anew")
    now = utc_now()
    policy = ApprovalPolicy.of(asked.approval)
    expires = None if policy.expires_seconds is None else now + timedelta(seconds=policy.expires_seconds)
    row = ApprovalRow(
        execution_id=execution.id, step=key.step, map_index=key.map_index, task_instance_id=key.task_instance_id,
        subject_digest=asked.digest, question=dict(asked.question), policy=dict(asked.approval),
        requester=asked.requester, state="waiting", asked_at=now, expires_at=expires,
    )  # fmt: skip
    session.add(row)
    session.flush()
    facts: dict[str, Any] = {"by": policy.by, "quorum": policy.quorum, "question": row.question, "expires_at": expires}
    _note(session, execution, row, "asked", f"{key.step} waits for approval by {', '.join(policy.by)}", **facts)
    return row


def take_answer(
    session: Session, execution: ExecutionRow, row: ApprovalRow, answer: Answer, *, is_named: bool, way: str
) -> str | None:
    """Store an answer if it counts, and decide with it; return why it does not count, None if it does.

    :param row: `locked`.
    :param is_named: whether the policy names the person.
    :param way: how the answer came, for the audit log.
    """
    said = answers_of(session, row)
    policy = policy_of(row)
    reason = _closed(row) or refusal(policy, answer.person, is_named=is_named, requester=row.requester, answers=said)
    facts: dict[str, Any] = {"by": answer.person.name, "user": answer.person.id, "choice": answer.choice, "way": way,
             "meaning": answer.meaning, "comment": answer.comment}  # fmt: skip
    component = f"user:{answer.person.name}"
    if reason is not None:
        _note(session, execution, row, "refused", f"An answer does not count: {reason}", level="warning",
              component=component, reason=reason, **facts)  # fmt: skip
        return reason
    session.add(
        ApprovalAnswerRow(
            approval_id=row.id, answered_by=answer.person.id, name=answer.person.name, answer=answer.choice,
            meaning=answer.meaning, comment=answer.comment, subject_digest=row.subject_digest, answered_at=answer.at,
        )
    )  # fmt: skip
    session.flush()
    message = f"{answer.person.name} {answer.choice} {row.step}"
    _note(session, execution, row, "answered", message, component=component, at=answer.at, **facts)
    choice = decided(policy, [*said, answer])
    if choice is not None:
        people = [one.person.name for one in (*said, answer) if one.choice == choice]
        _end(session, execution, row, choice, f"{row.step} is {choice} by {', '.join(people)}", by=people)
    return None


def expire(session: Session, execution: ExecutionRow, row: ApprovalRow, now: datetime) -> None:
    """Note that nobody answered in time; those who are to be told are told, and the policy says what follows.

    :param row: `locked`.
    """
    if row.state != "waiting" or row.expired_at is not None:
        return
    policy = policy_of(row)
    row.expired_at = now
    message = f"Nobody has decided about {row.step} in time"
    if policy.on_expiry == "escalate":
        session.flush()
        _note(session, execution, row, "expired", message, level="warning", on_expiry=policy.on_expiry)
    else:
        _end(session, execution, row, "expired", message, level="warning", on_expiry=policy.on_expiry)
    payload = {
        "execution": execution.name, "sop": execution.sop, "run_id": execution.run_id, "control": execution.control,
        "owner": execution.owner, "step": row.step, "map_index": row.map_index, "approval": row.id, "by": policy.by,
        "message": f"{message}; asked: {', '.join(policy.by)}", "at": now.isoformat(), "on_expiry": policy.on_expiry,
    }  # fmt: skip
    if outbox.put(session, "approval", f"approval:{row.id}", payload, execution_id=execution.id):
        said = AuditFields(
            kind="escalation", component="engine", level="warning", time=now, step=row.step, map_index=row.map_index,
            message=message, metadata={"kind": "approval", "approval": row.id},
        )  # fmt: skip
        append(session, execution.name, [said])


def void(session: Session, execution: ExecutionRow, row: ApprovalRow, why: str) -> bool:
    """Note that an approval counts no longer; return whether it did until now."""
    if row.state == "void":
        return False
    _end(session, execution, row, "void", f"The approval of {row.step} counts no longer: {why}", was=row.state)
    return True


def void_waiting(session: Session, execution: ExecutionRow, why: str) -> int:
    """Note that what an execution still waited for will not be answered any more; return how many there were."""
    query = select(ApprovalRow).where(ApprovalRow.execution_id == execution.id, ApprovalRow.state == "waiting")
    rows = session.scalars(query).all()
    for row in rows:
        void(session, execution, row, why)
    return len(rows)


def last_of_step(session: Session, execution_id: int, step: str, map_index: int = -1) -> ApprovalRow | None:
    """Return the approval that counts for a step, None if none was asked for."""
    query = (
        select(ApprovalRow)
        .where(ApprovalRow.execution_id == execution_id, ApprovalRow.step == step, ApprovalRow.map_index == map_index)
        .order_by(ApprovalRow.id.desc())
        .limit(1)
    )
    return session.scalars(query).one_or_none()


def list_approvals(
    session: Session,
    sops: Iterable[str],
    *,
    number: int | None = None,
    state: str | None = None,
    run_id: str | None = None,
    before: int | None = None,
    limit: int = 100,
) -> list[tuple[ApprovalRow, ExecutionRow]]:
    """Return approvals of executions of these SOPs, the newest first.

    :param before: only those with a lower number: the page after the one that ended with it.
    """
    query = (
        select(ApprovalRow, ExecutionRow)
        .join(ExecutionRow, ExecutionRow.id == ApprovalRow.execution_id)
        .where(ExecutionRow.sop.in_(sorted(sops)))
        .order_by(ApprovalRow.id.desc())
        .limit(limit)
        .options(defer(ExecutionRow.context), defer(ExecutionRow.result))
    )
    if number is not None:
        query = query.where(ApprovalRow.id == number)
    if state is not None:
        query = query.where(ApprovalRow.state == state)
    if run_id is not None:
        query = query.where(ExecutionRow.run_id == run_id)
    if before is not None:
        query = query.where(ApprovalRow.id < before)
    return [(row, execution) for row, execution in session.execute(query)]


def approval_of_task(session: Session, task_instance_id: str) -> ApprovalRow | None:
    """Return the approval that a task instance waits for, `locked`; None if it waits for none."""
    query = (
        select(ApprovalRow.id)
        .where(ApprovalRow.task_instance_id == task_instance_id)
        .order_by(ApprovalRow.id.desc())
        .limit(1)
    )
    found = session.scalar(query)
    return None if found is None else locked(session, found)


def locked(session: Session, approval_id: int) -> ApprovalRow | None:
    """Return an approval that nobody else can change until the transaction ends, on SQLite as well."""
    session.execute(
        update(ApprovalRow)
        .where(ApprovalRow.id == approval_id)
        .values(state=ApprovalRow.state)
        .execution_options(synchronize_session=False)
    )
    return session.get(ApprovalRow, approval_id, populate_existing=True)


def answers_of(session: Session, row: ApprovalRow) -> list[Answer]:
    """Return the answers that count, the first one first."""
    query = select(ApprovalAnswerRow).where(ApprovalAnswerRow.approval_id == row.id).order_by(ApprovalAnswerRow.id)
    return [
        Answer(
            person=Person(id=one.answered_by, name=one.name), choice=cast("Choice", one.answer), meaning=one.meaning,
            comment=one.comment, at=one.answered_at,
        )
        for one in session.scalars(query)
    ]  # fmt: skip


def policy_of(row: ApprovalRow) -> ApprovalPolicy:
    """Return the terms an approval was asked under."""
    return ApprovalPolicy.of(row.policy)


def outputs_of(session: Session, row: ApprovalRow) -> dict[str, Any]:
    """Return the outputs of the step of an approval that is decided."""
    return step_outputs(row.id, row.subject_digest, cast("Choice", row.state), answers_of(session, row))


def _closed(row: ApprovalRow) -> str | None:
    if row.state == "waiting":
        return None
    if row.state == "expired":
        return "the time to answer is over; clear the step to ask anew"
    return f"it is {row.state} already"


def _stands(session: Session, execution: ExecutionRow, row: ApprovalRow, key: AttemptKey) -> ApprovalRow:
    row.task_instance_id = key.task_instance_id
    session.flush()
    people: Sequence[str] = [answer.person.name for answer in answers_of(session, row)]
    message = f"{row.step} runs again and nothing it was about has changed: the approval by {', '.join(people)} stands"
    _note(session, execution, row, "stands", message, by=people)
    return row


def _end(
    session: Session, execution: ExecutionRow, row: ApprovalRow, state: ApprovalState, message: str, **facts: Any
) -> None:
    row.state, row.ended_at = state, utc_now()
    session.flush()
    level = facts.pop("level", "info")
    _note(session, execution, row, state, message, level=level, **facts)


def _note(
    session: Session,
    execution: ExecutionRow,
    row: ApprovalRow,
    event: str,
    message: str,
    *,
    level: Level = "info",
    component: str = "engine",
    at: datetime | None = None,
    **facts: Any,
) -> None:
    metadata = {"event": event, "approval": row.id, "subject": row.subject_digest, **facts}
    said = AuditFields(
        kind="approval", component=component, level=level, time=at, step=row.step, map_index=row.map_index,
        message=message, metadata=metadata,
    )  # fmt: skip
    append(session, execution.name, [said])
