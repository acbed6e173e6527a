"""Alerts: what a rule found, once for each rule and subject, with all that follows from it in one transaction.

An execution that takes more than a multiple of its expected duration is one. Those that ended while nobody looked
count as well, so an alert does not depend on who was up at that moment.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from operator import itemgetter
from statistics import median

from sqlalchemy import insert, or_, select, update
from sqlalchemy.orm import Session

from airflow_sop_provider.audit.entries import AuditFields
from airflow_sop_provider.engine.alert_rules import OverrunRule
from airflow_sop_provider.engine.execution_state import ExecutionStatus
from airflow_sop_provider.store.alert_tables import AlertRow
from airflow_sop_provider.store.audit_append import append
from airflow_sop_provider.store.execution_tables import ExecutionRow
from airflow_sop_provider.store.outbox import put

__all__ = ["OVERRUN", "Limit", "acknowledge", "alerts_of", "expected_of", "flag", "limits_of", "overrunning"]

OVERRUN = "overrun"
"""The rule about executions that take too long."""

_HISTORY = 200
_MUCH_HISTORY = 5000
_AT_ONCE = 500


_RULE = OverrunRule()


def expected_of(session: Session, execution: ExecutionRow, rule: OverrunRule = _RULE) -> float | None:
    """Return how many seconds an execution should take: declared, else the median of its control type's completed ones.

    :return: None if neither is known: nothing declared, and fewer than the rule's minimum completed before it began.
    """
    if execution.expected_seconds is not None:
        return execution.expected_seconds
    if execution.control_type is None or execution.started_at is None:
        return None
    history = (
        select(ExecutionRow.started_at, ExecutionRow.ended_at)
        .where(
            ExecutionRow.control_type == execution.control_type,
            ExecutionRow.status == ExecutionStatus.COMPLETED.value,
            ExecutionRow.started_at.is_not(None),
            ExecutionRow.ended_at <= execution.started_at,
            ExecutionRow.id != execution.id,
        )
        .order_by(ExecutionRow.ended_at.desc())
        .limit(max(_HISTORY, rule.minimum))
    )
    seconds = [(ended - began).total_seconds() for began, ended in session.execute(history) if began and ended]
    return median(seconds) if len(seconds) >= rule.minimum else None


@dataclass(frozen=True)
class Limit:
    """From when on an execution has taken too long, as far as anybody can say, and when it ended if it did."""

    too_long_from: datetime | None
    ended_at: datetime | None


def limits_of(session: Session, numbers: Sequence[int], rule: OverrunRule = _RULE) -> dict[int, Limit]:
    """Return until when each of these executions may take, history read once for each control type.

    To ask for each one alone would read the same two hundred rows thousands of times. `flag` is who decides.
    """
    columns = (
        ExecutionRow.id, ExecutionRow.control_type, ExecutionRow.started_at, ExecutionRow.ended_at,
        ExecutionRow.expected_seconds,
    )  # fmt: skip
    rows = session.execute(select(*columns).where(ExecutionRow.id.in_(numbers))).all()
    begun = [row for row in rows if row.started_at is not None]
    latest: dict[str, datetime] = {}
    for row in begun:
        if row.expected_seconds is None and row.control_type is not None:
            latest[row.control_type] = max(row.started_at, latest.get(row.control_type, row.started_at))
    history = {kind: _durations(session, kind, until) for kind, until in latest.items()}
    found: dict[int, Limit] = {}
    for row in begun:
        expected = row.expected_seconds
        if expected is None:
            expected = _learnt(history.get(row.control_type, []), row.started_at, rule)
        late = None if expected is None else row.started_at + timedelta(seconds=rule.factor * expected)
        found[row.id] = Limit(late, row.ended_at)
    return found


def _durations(session: Session, control_type: str, until: datetime) -> list[tuple[datetime, float]]:
    """Return when the completed executions of a control type ended and how long they took, the oldest first."""
    query = (
        select(ExecutionRow.started_at, ExecutionRow.ended_at)
        .where(
            ExecutionRow.control_type == control_type,
            ExecutionRow.status == ExecutionStatus.COMPLETED.value,
            ExecutionRow.started_at.is_not(None),
            ExecutionRow.ended_at <= until,
        )
        .order_by(ExecutionRow.ended_at.desc())
        .limit(_MUCH_HISTORY)
    )
    rows = session.execute(query).all()
    return [(ended, (ended - began).total_seconds()) for began, ended in reversed(rows) if began and ended]


def _learnt(history: list[tuple[datetime, float]], before: datetime, rule: OverrunRule) -> float | None:
    place = bisect_right(history, before, key=itemgetter(0))
    taken = [seconds for _, seconds in history[max(0, place - max(_HISTORY, rule.minimum)) : place]]
    return median(taken) if len(taken) >= rule.minimum else None


def overrunning(session: Session, now: datetime, *, after: int = 0, rule: OverrunRule = _RULE) -> Sequence[int]:
    """Return executions that may have taken too long: begun, without such an alert, running or ended not long ago.

    :param after: only those with a higher number, in whose order they come.
    """
    open_or_recent = or_(
        ExecutionRow.status == ExecutionStatus.RUNNING.value,
        ExecutionRow.ended_at > now - rule.look_back,
    )
    known = or_(ExecutionRow.expected_seconds.is_not(None), ExecutionRow.control_type.is_not(None))
    query = (
        select(ExecutionRow.id)
        .where(
            ExecutionRow.started_at.is_not(None),
            ExecutionRow.id > after,
            open_or_recent,
            known,
            ExecutionRow.flagged.is_(False),
        )
        .order_by(ExecutionRow.id)
        .limit(_AT_ONCE)
    )
    return session.scalars(query).all()


def flag(session: Session, execution: ExecutionRow, now: datetime, rule: OverrunRule = _RULE) -> bool:
    """Raise the alert if an execution has taken longer than the rule allows; return whether it is new.

    Alert, flag, audit entry and outbox are one transaction.
    """
    if execution.started_at is None:
        return False
    expected = expected_of(session, execution, rule)
    taken = ((execution.ended_at or now) - execution.started_at).total_seconds()
    if expected is None or taken <= rule.factor * expected:
        return False
    details = {
        "expected_seconds": expected,
        "elapsed_seconds": taken,
        "factor": rule.factor,
        "declared": execution.expected_seconds is not None,
        "ended": execution.ended_at is not None,
    }
    verb = "took" if execution.ended_at is not None else "has been running for"
    message = f"{execution.name} {verb} {taken:.0f} s; {expected:.0f} s were expected"
    values = {
        "rule": OVERRUN, "subject": execution.name, "execution_id": execution.id, "level": "warning",
        "message": message, "details": details, "raised_at": now,
    }  # fmt: skip
    # of several who look at once, one changes the flag; the others find it set
    flagged = session.execute(
        update(ExecutionRow)
        .where(ExecutionRow.id == execution.id, ExecutionRow.flagged.is_(False))
        .values(flagged=True)
        .execution_options(synchronize_session=False)
    )
    session.refresh(execution)
    if flagged.rowcount != 1:  # type: ignore[attr-defined]  # of a cursor's result, which an UPDATE has
        return False
    session.execute(insert(AlertRow).values(**values))
    said = AuditFields(
        kind="alert", component="engine", level="warning", time=now, message=message,
        metadata={"rule": OVERRUN, **details},
    )  # fmt: skip
    append(session, execution.name, [said])
    payload = {
        "execution": execution.name, "sop": execution.sop, "run_id": execution.run_id, "control": execution.control,
        "owner": execution.owner, "rule": OVERRUN, "message": message, "at": now.isoformat(), **details,
    }  # fmt: skip
    put(session, "alert", f"alert:{OVERRUN}:{execution.id}", payload, execution_id=execution.id)
    return True


def alerts_of(
    session: Session, sops: Iterable[str], *, acknowledged: bool | None = None, limit: int = 100
) -> list[tuple[AlertRow, ExecutionRow]]:
    """Return alerts about executions of these SOPs, the newest first.

    :param acknowledged: only those that somebody has, or that nobody has; None: both.
    """
    query = (
        select(AlertRow, ExecutionRow)
        .join(ExecutionRow, ExecutionRow.id == AlertRow.execution_id)
        .where(ExecutionRow.sop.in_(sorted(sops)))
        .order_by(AlertRow.id.desc())
        .limit(limit)
    )
    if acknowledged is not None:
        query = query.where(
            AlertRow.acknowledged_at.is_not(None) if acknowledged else AlertRow.acknowledged_at.is_(None)
        )
    return [(alert, execution) for alert, execution in session.execute(query)]


def acknowledge(session: Session, alert: AlertRow, execution: ExecutionRow, by: str, now: datetime) -> bool:
    """Note who has seen an alert; False if somebody had before."""
    if alert.acknowledged_at is not None:
        return False
    alert.acknowledged_by, alert.acknowledged_at = by, now
    session.flush()
    said = AuditFields(
        kind="alert", component=f"user:{by}", time=now, message=f"{by} acknowledged: {alert.message}",
        metadata={"rule": alert.rule, "by": by},
    )  # fmt: skip
    append(session, execution.name, [said])
    return True
