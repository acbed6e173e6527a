"""Attempts in the tables: begun, ended, and what their runners reported. Each with its audit entries.

Recorded by whoever carries an attempt, before its container starts and before Airflow is told how it ended; so who
dies in between repeats it, and an attempt that began is always known. Runner events are numbered from 1 for each
attempt; what was stored already is passed over, however often and by whichever way it comes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from airflow_sop_provider.audit.entries import KINDS, AuditFields
from airflow_sop_provider.contract.attempt import AttemptKey
from airflow_sop_provider.contract.verdict import Usage
from airflow_sop_provider.engine.execution_state import ExecutionStatus
from airflow_sop_provider.store import outbox
from airflow_sop_provider.store.audit_append import append
from airflow_sop_provider.store.base import insert_if_absent, now_is, utc_now
from airflow_sop_provider.store.execution_tables import AttemptRow, ExecutionRow
from airflow_sop_provider.store.executions import reopen_execution, set_status

__all__ = [
    "AttemptBegin",
    "AttemptEnd",
    "AttemptState",
    "begin_attempt",
    "end_attempt",
    "find_attempt",
    "record_events",
]

AttemptState = Literal["running", "succeeded", "failed", "skipped", "retrying", "stopped"]

_EXECUTOR = "executor"
_RUNNER = "runner"
_NOT_STORED = frozenset({"attempt.begin", "attempt.end", "heartbeat"})
"""Events that say what is stored anyway, from whoever carries the attempt."""
_IDENTITY = frozenset(
    {"seq", "time", "event", "execution", "step", "map_index", "attempt", "message", "level", "agent"}
)
_USAGE = ("cpu_seconds", "wall_seconds", "peak_memory_bytes", "network_received_bytes", "network_sent_bytes")


@dataclass(frozen=True, kw_only=True)
class AttemptBegin:
    """An attempt that is about to start.

    :param kind: of its payload: ``step``, ``items``, ``rollback``, ``agent_centric``.
    :param data_sources: what it may touch in the fleet.
    """

    key: AttemptKey
    kind: str
    runtime: str | None = None
    container: str | None = None
    image: str | None = None
    data_sources: Mapping[str, Any] = field(default_factory=dict)
    memory_bytes: int | None = None
    cpu_millis: int | None = None
    at: datetime = field(default_factory=utc_now)


@dataclass(frozen=True, kw_only=True)
class AttemptEnd:
    """What an attempt came to.

    :param retry_delay_seconds: for ``retrying``: when the next one may start.
    :param image: what it ran in, by digest, as the runtime saw it.
    :param events: of the runner; those stored already are passed over.
    """

    key: AttemptKey
    state: AttemptState
    error_type: str | None = None
    error_code: str | None = None
    message: str | None = None
    evidence: Mapping[str, Any] | None = None
    retry_delay_seconds: float | None = None
    retry_reason: str | None = None
    usage: Usage | None = None
    outputs_digest: str | None = None
    image: str | None = None
    events: Sequence[Mapping[str, Any]] = ()
    at: datetime = field(default_factory=utc_now)


def find_attempt(session: Session, key: AttemptKey) -> AttemptRow | None:
    """Return an attempt, None if it was not recorded."""
    query = select(AttemptRow).where(
        AttemptRow.task_instance_id == key.task_instance_id, AttemptRow.attempt == key.attempt
    )
    return session.scalars(query).one_or_none()


def begin_attempt(session: Session, execution: ExecutionRow, begin: AttemptBegin) -> AttemptRow:
    """Record that an attempt begins; the first one of an execution makes it RUNNING."""
    is_new = insert_if_absent(session, AttemptRow, _values(execution, begin))
    row = find_attempt(session, begin.key)
    assert row is not None, "it was inserted, by us or by another process just now"
    if not is_new:
        return row
    reopen_execution(session, execution, f"{begin.key.step} runs again")
    set_status(session, execution, ExecutionStatus.RUNNING, f"{begin.key.step} began", at=begin.at)
    append(session, execution.name, [_begin_entry(execution, begin)])
    return row


def end_attempt(session: Session, execution: ExecutionRow, end: AttemptEnd) -> bool:
    """Record what an attempt came to, with the rest of its runner's events; False if it was recorded before.

    One that failed for good goes into the outbox in the same transaction.
    """
    row = find_attempt(session, end.key)
    if row is None or row.ended_at is not None:
        return False
    record_events(session, execution, row, end.events)
    values = _end_values(end)
    done = session.execute(
        update(AttemptRow)
        .where(AttemptRow.id == row.id, AttemptRow.ended_at.is_(None))
        .values(**values)
        .execution_options(synchronize_session=False)
    )
    if done.rowcount != 1:  # type: ignore[attr-defined]  # of a cursor's result, which an UPDATE has
        session.refresh(row)
        return False
    now_is(row, values)
    session.execute(
        update(ExecutionRow)
        .where(ExecutionRow.id == execution.id)
        .values(updated_at=end.at)
        .execution_options(synchronize_session=False)
    )
    append(session, execution.name, list(_end_entries(end)))
    if end.state == "failed":
        _escalate(session, execution, end)
    return True


def record_events(
    session: Session, execution: ExecutionRow, attempt: AttemptRow, events: Iterable[Mapping[str, Any]]
) -> int:
    """Store those of a runner's events that are not stored yet; return how many there are in all now.

    :param events: with ``seq`` from 1, in any order; one that follows a gap waits until it is sent again.
        Heartbeats have the number 0 and only renew the attempt's sign of life.
    """
    events = list(events)
    seen = session.execute(
        select(AttemptRow.events_seen).where(AttemptRow.id == attempt.id).with_for_update()
    ).scalar_one()
    fresh: list[Mapping[str, Any]] = []
    for event in sorted(events, key=lambda event: int(event.get("seq", 0))):
        if int(event.get("seq", 0)) == seen + len(fresh) + 1:
            fresh.append(event)
    now = utc_now()
    if not fresh:
        if events:
            _touch(session, attempt, now)
        return int(seen)
    values = {"events_seen": seen + len(fresh), "heartbeat_at": now}
    moved = session.execute(
        update(AttemptRow)
        .where(AttemptRow.id == attempt.id, AttemptRow.events_seen == seen)
        .values(**values)
        .execution_options(synchronize_session=False)
    )
    if moved.rowcount != 1:  # type: ignore[attr-defined]  # of a cursor's result, which an UPDATE has
        session.refresh(attempt)
        return attempt.events_seen  # somebody else stored some just now; the sender sends again what is missing
    said = [_event_entry(attempt, execution, event) for event in fresh if event.get("event") not in _NOT_STORED]
    append(session, execution.name, said)
    now_is(attempt, values)
    return int(seen) + len(fresh)


def _touch(session: Session, attempt: AttemptRow, now: datetime) -> None:
    alive = update(AttemptRow).where(AttemptRow.id == attempt.id).values(heartbeat_at=now)
    session.execute(alive.execution_options(synchronize_session=False))
    now_is(attempt, {"heartbeat_at": now})


def _values(execution: ExecutionRow, begin: AttemptBegin) -> dict[str, Any]:
    key = begin.key
    return {
        "execution_id": execution.id,
        "step": key.step,
        "map_index": key.map_index,
        "attempt": key.attempt,
        "task_instance_id": key.task_instance_id,
        "kind": begin.kind,
        "state": "running",
        "runtime": begin.runtime,
        "container": begin.container,
        "image": begin.image,
        "data_sources": dict(begin.data_sources),
        "memory_bytes": begin.memory_bytes,
        "cpu_millis": begin.cpu_millis,
        "started_at": begin.at,
    }


def _end_values(end: AttemptEnd) -> dict[str, Any]:
    usage = end.usage or Usage()
    return {
        "state": end.state,
        "error_type": end.error_type,
        "error_code": end.error_code,
        "error_message": end.message if end.state not in ("succeeded", "skipped") else None,
        "evidence": None if end.evidence is None else dict(end.evidence),
        "retry_delay_seconds": end.retry_delay_seconds,
        "retry_reason": end.retry_reason,
        "usage": usage.model_dump(mode="json", exclude_none=True),
        "outputs_digest": end.outputs_digest,
        "ended_at": end.at,
        **({} if end.image is None else {"image": end.image}),
        **{name: getattr(usage, name) for name in _USAGE},
    }


def _begin_entry(execution: ExecutionRow, begin: AttemptBegin) -> AuditFields:
    key = begin.key
    return AuditFields(
        kind="attempt.begin",
        component=_EXECUTOR,
        time=begin.at,
        agent=execution.agent,
        step=key.step,
        map_index=key.map_index,
        attempt=key.attempt,
        message=f"Attempt {key.attempt} of {key.step} begins",
        metadata={
            "task_instance": key.task_instance_id,
            "kind": begin.kind,
            "runtime": begin.runtime,
            "container": begin.container,
            "image": begin.image,
            "memory_bytes": begin.memory_bytes,
            "data_sources": dict(begin.data_sources),
        },
    )


def _end_entries(end: AttemptEnd) -> Iterable[AuditFields]:
    key = end.key
    usage = {} if end.usage is None else end.usage.model_dump(mode="json", exclude_none=True)
    error = {"error_type": end.error_type, "code": end.error_code, "evidence": end.evidence}
    yield AuditFields(
        kind="attempt.end",
        component=_EXECUTOR,
        level="info" if end.state in ("succeeded", "skipped") else "error",
        time=end.at,
        step=key.step,
        map_index=key.map_index,
        attempt=key.attempt,
        message=end.message or f"Attempt {key.attempt} of {key.step}: {end.state}",
        metadata={
            "task_instance": key.task_instance_id,
            "state": end.state,
            "usage": usage,
            "outputs_digest": end.outputs_digest,
            **({} if end.image is None else {"image": end.image}),
            **({} if end.error_type is None else error),
        },
    )
    if end.state == "retrying":
        yield AuditFields(
            kind="retry",
            component=_EXECUTOR,
            level="warning",
            time=end.at,
            step=key.step,
            map_index=key.map_index,
            attempt=key.attempt,
            message=end.retry_reason or "the attempt is tried again",
            metadata={"delay_seconds": end.retry_delay_seconds, "error_type": end.error_type, "code": end.error_code},
        )


def _event_entry(attempt: AttemptRow, execution: ExecutionRow, event: Mapping[str, Any]) -> AuditFields:
    name = str(event.get("event"))
    details = {key: value for key, value in event.items() if key not in _IDENTITY}
    known = name in KINDS
    return AuditFields(
        kind=name if known else "note",
        component=_RUNNER,
        level=event["level"] if event.get("level") in ("debug", "info", "warning", "error") else "info",
        time=event.get("time"),
        agent=event.get("agent") or execution.agent,
        step=attempt.step,
        map_index=attempt.map_index,
        attempt=attempt.attempt,
        message=str(event.get("message") or name),
        metadata=details if known else {"event": name, **details},
    )


def _escalate(session: Session, execution: ExecutionRow, end: AttemptEnd) -> None:
    key = end.key
    payload = {
        "execution": execution.name,
        "sop": key.sop,
        "run_id": key.run_id,
        "control": execution.control,
        "owner": execution.owner,
        "step": key.step,
        "map_index": key.map_index,
        "attempt": key.attempt,
        "error_type": end.error_type,
        "code": end.error_code,
        "message": end.message,
        "at": end.at.isoformat(),
    }
    fresh = outbox.put(
        session, "failure", f"failure:{key.task_instance_id}:{key.attempt}", payload, execution_id=execution.id
    )
    if fresh:
        said = AuditFields(
            kind="escalation",
            component="engine",
            level="error",
            time=end.at,
            step=key.step,
            map_index=key.map_index,
            attempt=key.attempt,
            message=f"{key.step} failed for good; operations are told",
            metadata={"kind": "failure", "error_type": end.error_type, "code": end.error_code},
        )
        append(session, execution.name, [said])
