"""The life of an execution in the tables: opened, its status, cancelled, closed. Each with its audit entry.

Every function may be called again with the same facts: who was killed in between does it once more, and nothing is
stored twice.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from airflow_sop_provider.audit.entries import AuditFields
from airflow_sop_provider.contract.assignment import RESERVED_CONF_KEYS
from airflow_sop_provider.engine.execution_context import ExecutionContext
from airflow_sop_provider.engine.execution_state import ExecutionStatus
from airflow_sop_provider.engine.pools import BATCH_KEY
from airflow_sop_provider.engine.priorities import PRIORITY_KEY, known_priority
from airflow_sop_provider.store.audit_append import append
from airflow_sop_provider.store.base import insert_if_absent, now_is, utc_now
from airflow_sop_provider.store.execution_tables import DocumentRow, ExecutionRow

__all__ = [
    "ENGINE",
    "RunFacts",
    "cancel_execution",
    "close_execution",
    "find_execution",
    "open_execution",
    "reopen_execution",
    "set_status",
]

ENGINE = "engine"
"""Component of what the engine itself notes."""

_ORDER = (ExecutionStatus.SUBMITTED, ExecutionStatus.QUEUED, ExecutionStatus.RUNNING)


@dataclass(frozen=True, kw_only=True)
class RunFacts:
    """What is known of a DAG run at its start.

    :param run_type: Airflow's type of the run, such as ``manual``, ``scheduled`` or ``backfill``.
    :param conf: inputs, flat, plus the reserved keys.
    :param requested_by: user who asked for it, None where nobody did.
    :param run_after: not before this moment.
    """

    sop: str
    run_id: str
    run_type: str
    conf: Mapping[str, Any] = field(default_factory=dict)
    requested_by: str | None = None
    triggered_by: str | None = None
    submitted_at: datetime
    run_after: datetime | None = None


def find_execution(session: Session, sop: str, run_id: str) -> ExecutionRow | None:
    """Return an execution, None if nothing is known of it."""
    query = select(ExecutionRow).where(ExecutionRow.sop == sop, ExecutionRow.run_id == run_id)
    return session.scalars(query).one_or_none()


def open_execution(
    session: Session, facts: RunFacts, context: ExecutionContext, document: str | None = None
) -> ExecutionRow:
    """Return the execution of a DAG run; stores it, with its context and the start entry, if it is new.

    :param document: the SOP's text, None where it is not at hand.
    """
    if document is not None:
        _keep_document(session, context, document)
    is_new = insert_if_absent(session, ExecutionRow, _values(facts, context))
    row = find_execution(session, facts.sop, facts.run_id)
    assert row is not None, "it was inserted, by us or by another process just now"
    if is_new:
        append(session, row.name, [_start(row, facts, context)])
    return row


def set_status(
    session: Session, row: ExecutionRow, status: ExecutionStatus, why: str, *, at: datetime | None = None
) -> bool:
    """Move an execution forward to ``SUBMITTED``, ``QUEUED`` or ``RUNNING``; return whether it moved.

    :raises ValueError: ``status`` is final; `close_execution` does that.
    """
    if status.is_final:
        raise ValueError(f"{status} is final: close the execution instead")
    old = ExecutionStatus(row.status)
    if old.is_final or _ORDER.index(status) <= _ORDER.index(old):
        return False
    at = at or utc_now()
    changes: dict[str, Any] = {"status": status.value, "updated_at": at}
    if status is ExecutionStatus.RUNNING:
        changes["started_at"] = at
    if not _moved(session, row, old, changes):
        return False
    append(session, row.name, [_status_entry(old, status, why, at)])
    return True


def cancel_execution(session: Session, row: ExecutionRow, by: str, reason: str | None = None) -> bool:
    """Note who cancelled an execution and why; it is closed as CANCELLED once Airflow has ended it."""
    if ExecutionStatus(row.status).is_final or row.cancelled_by is not None:
        return False
    row.cancelled_by, row.cancel_reason, row.updated_at = by, reason, utc_now()
    session.flush()
    said = AuditFields(
        kind="cancel",
        component=f"user:{by}",
        level="warning",
        message=f"Cancelled by {by}: {reason}" if reason else f"Cancelled by {by}",
        metadata={"by": by, "reason": reason},
    )
    append(session, row.name, [said])
    return True


def close_execution(
    session: Session,
    row: ExecutionRow,
    status: ExecutionStatus,
    result: Mapping[str, Any],
    *,
    at: datetime | None = None,
    said: Sequence[AuditFields] = (),
) -> bool:
    """Store what an execution came to, with its completion entry; False if it was closed already.

    :param result: JSON: outputs, failed steps, attempts, usage.
    :param said: entries before the completion, about how it came to that.
    :raises ValueError: ``status`` is not final.
    """
    if not status.is_final:
        raise ValueError(f"{status} is not final")
    old = ExecutionStatus(row.status)
    if old.is_final:
        return False
    at = at or utc_now()
    changes = {"status": status.value, "result": dict(result), "ended_at": at, "updated_at": utc_now()}
    if not _moved(session, row, old, changes):
        return False
    ended = _status_entry(old, status, "Airflow ended the run", at)
    append(session, row.name, [*said, ended, _completion(row, result, at)])
    return True


def reopen_execution(session: Session, row: ExecutionRow, why: str) -> bool:
    """Take an execution that was closed for running again: tasks of it were cleared; return whether it was closed."""
    old = ExecutionStatus(row.status)
    if not old.is_final:
        return False
    changes = {
        "status": ExecutionStatus.RUNNING.value, "ended_at": None, "result": None, "cancelled_by": None,
        "cancel_reason": None, "updated_at": utc_now(),
    }  # fmt: skip
    if not _moved(session, row, old, changes):
        return False
    append(session, row.name, [_status_entry(old, ExecutionStatus.RUNNING, why, utc_now())])
    return True


def _moved(session: Session, row: ExecutionRow, old: ExecutionStatus, changes: Mapping[str, Any]) -> bool:
    """Change the row if its status is still ``old``: several processes see the same end."""
    done = session.execute(
        update(ExecutionRow)
        .where(ExecutionRow.id == row.id, ExecutionRow.status == old.value)
        .values(**changes)
        .execution_options(synchronize_session=False)
    )
    if done.rowcount != 1:  # type: ignore[attr-defined]  # of a cursor's result, which an UPDATE has
        session.refresh(row)
        return False
    now_is(row, changes)
    return True


def _values(facts: RunFacts, context: ExecutionContext) -> dict[str, Any]:
    conf = facts.conf
    agent_centric = context.mode == "agent_centric"
    return {
        "sop": facts.sop,
        "run_id": facts.run_id,
        "version": context.version,
        "digest": context.digest,
        "control": context.control,
        "control_type": context.control_type,
        "mode": context.mode,
        "priority": known_priority(conf.get(PRIORITY_KEY)) or context.priority,
        "owner": context.owner,
        "agent": f"{context.sop}@{context.version}" if agent_centric else None,
        "batch": str(conf[BATCH_KEY]) if conf.get(BATCH_KEY) else None,
        "run_type": facts.run_type,
        "requested_by": facts.requested_by,
        "inputs": {name: value for name, value in conf.items() if name not in RESERVED_CONF_KEYS},
        "context": context.model_dump(mode="json", exclude_defaults=True),
        "status": ExecutionStatus.SUBMITTED.value,
        "expected_seconds": context.expected_seconds,
        "submitted_at": facts.submitted_at,
        "run_after": facts.run_after,
    }


def _keep_document(session: Session, context: ExecutionContext, text: str) -> None:
    if session.get(DocumentRow, context.digest) is not None:
        return
    values = {"digest": context.digest, "sop": context.sop, "version": context.version, "text": text}
    insert_if_absent(session, DocumentRow, values)


def _start(row: ExecutionRow, facts: RunFacts, context: ExecutionContext) -> AuditFields:
    return AuditFields(
        kind="start",
        component=ENGINE,
        agent=row.agent,
        time=facts.submitted_at,
        message=f"Execution of {row.sop} {row.version} ({context.mode})",
        metadata={
            "execution": row.name,
            "sop": row.sop,
            "version": row.version,
            "digest": row.digest,
            "mode": row.mode,
            "agent": row.agent or ENGINE,
            "control": row.control,
            "priority": row.priority,
            "batch": row.batch,
            "run_type": row.run_type,
            "triggered_by": facts.triggered_by,
            "requested_by": row.requested_by,
            "run_after": None if row.run_after is None else row.run_after.isoformat(),
            "inputs": row.inputs,
            "data_sources": context.data_sources,
        },
    )


def _status_entry(old: ExecutionStatus, new: ExecutionStatus, why: str, at: datetime) -> AuditFields:
    return AuditFields(
        kind="status",
        component=ENGINE,
        time=at,
        message=f"{old} -> {new}: {why}",
        metadata={"from": old.value, "to": new.value},
    )


def _completion(row: ExecutionRow, result: Mapping[str, Any], at: datetime) -> AuditFields:
    # a clock that was set back meanwhile makes nothing take less than no time
    duration = None if row.started_at is None else max(0.0, (at - row.started_at).total_seconds())
    return AuditFields(
        kind="completion",
        component=ENGINE,
        agent=row.agent,
        time=at,
        level="info" if row.status == ExecutionStatus.COMPLETED else "error",
        message=f"{row.status} after {duration:.3f} s" if duration is not None else row.status,
        metadata={"status": row.status, "duration_seconds": duration, "result": dict(result)},
    )
