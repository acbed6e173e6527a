"""What happened since it was told last, for counters that somebody else keeps; and the levels of this moment.

The position is stored before anything is told, so what a counter gets it gets once, whichever API server tells it. Who
is killed between the two tells a few seconds too little, never anything twice: a counter cannot take back.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, Select, func, select
from sqlalchemy.orm import Session

from airflow_sop_provider.engine.execution_state import ExecutionStatus
from airflow_sop_provider.store.alert_tables import AlertRow, DeliveryRow, OutboxRow
from airflow_sop_provider.store.control_tables import PositionRow
from airflow_sop_provider.store.execution_tables import AttemptRow, ExecutionRow
from airflow_sop_provider.store.fleet_tables import BreakerRow

__all__ = ["EndedAttempt", "EndedExecution", "Happenings", "Levels", "advance", "happenings", "levels_now"]

_LONGEST = timedelta(hours=1)
_OPEN = (ExecutionStatus.SUBMITTED, ExecutionStatus.QUEUED, ExecutionStatus.RUNNING)


@dataclass(frozen=True)
class EndedExecution:
    """An execution that is over; ``seconds``: from its first attempt, None if it had none."""

    mode: str
    control: str | None
    status: str
    seconds: float | None


@dataclass(frozen=True)
class EndedAttempt:
    """An attempt that is over."""

    kind: str
    state: str
    error_type: str | None
    seconds: float
    cpu_seconds: float
    received_bytes: int
    sent_bytes: int


@dataclass(frozen=True)
class Happenings:
    """What happened in a span of time; ``started``: executions by mode."""

    started: dict[str, int]
    executions: Sequence[EndedExecution]
    attempts: Sequence[EndedAttempt]
    alerts: int


@dataclass(frozen=True)
class Levels:
    """How much there is of something now.

    :param executions: those that are not over, by status.
    :param breakers: server -> state and share of failures among its last requests.
    :param deliveries: escalations by state: ``pending``, ``dead``.
    :param alerts: those that nobody has acknowledged.
    """

    executions: dict[str, int]
    running_attempts: int
    breakers: dict[str, tuple[str, float]]
    deliveries: dict[str, int]
    alerts: int

    @property
    def queue_depth(self) -> int:
        """Executions that wait."""
        return self.executions["SUBMITTED"] + self.executions["QUEUED"]


def advance(session: Session, name: str, until: datetime) -> tuple[datetime, datetime]:
    """Return the span that is to be told now, and note that it is.

    The first call tells nothing; what is older than an hour is not told any more, as a counter would leap.

    :param until: its end: a little before now, as what is being committed has a time of before.
    """
    row = session.get(PositionRow, name, with_for_update=True)
    if row is None:
        session.add(PositionRow(name=name, at=until))
        return until, until
    since, row.at = min(max(row.at, until - _LONGEST), until), max(row.at, until)
    return since, until


def happenings(session: Session, since: datetime, until: datetime) -> Happenings:
    """Return what happened from ``since`` (inside) to ``until`` (outside)."""
    begun = (
        select(ExecutionRow.mode, func.count())
        .where(ExecutionRow.started_at >= since, ExecutionRow.started_at < until)
        .group_by(ExecutionRow.mode)
    )
    executions = select(
        ExecutionRow.mode, ExecutionRow.control, ExecutionRow.status, ExecutionRow.started_at, ExecutionRow.ended_at
    ).where(ExecutionRow.ended_at >= since, ExecutionRow.ended_at < until)
    alerts = select(func.count()).where(AlertRow.raised_at >= since, AlertRow.raised_at < until)
    return Happenings(
        started=_counted(session, begun),
        executions=[
            EndedExecution(mode, control, status, (over - began).total_seconds() if began and over else None)
            for mode, control, status, began, over in session.execute(executions)
        ],
        attempts=_attempts(session, since, until),
        alerts=session.scalar(alerts) or 0,
    )


def levels_now(session: Session, sops: Iterable[str] | None = None) -> Levels:
    """Return how much there is of everything now.

    :param sops: only of executions of these, None: of all. Breakers are the fleet's, and nobody's in particular.
    """
    statuses = [one.value for one in _OPEN]
    mine: list[ColumnElement[bool]] = [] if sops is None else [ExecutionRow.sop.in_(sorted(sops))]
    by_status = _counted(
        session,
        select(ExecutionRow.status, func.count())
        .where(ExecutionRow.status.in_(statuses), *mine)
        .group_by(ExecutionRow.status),
    )
    deliveries = _counted(
        session,
        select(DeliveryRow.state, func.count())
        .join(OutboxRow, OutboxRow.id == DeliveryRow.outbox_id)
        .outerjoin(ExecutionRow, ExecutionRow.id == OutboxRow.execution_id)
        .where(DeliveryRow.state.in_(("pending", "dead")), *mine)
        .group_by(DeliveryRow.state),
    )
    attempts = select(func.count(AttemptRow.id)).join(ExecutionRow, ExecutionRow.id == AttemptRow.execution_id)
    alerts = select(func.count(AlertRow.id)).outerjoin(ExecutionRow, ExecutionRow.id == AlertRow.execution_id)
    return Levels(
        executions={status: by_status[status] for status in statuses},
        running_attempts=session.scalar(attempts.where(AttemptRow.state == "running", *mine)) or 0,
        breakers={row.server: (row.state, _ratio(row.window)) for row in session.scalars(select(BreakerRow))},
        deliveries={state: deliveries[state] for state in ("pending", "dead")},
        alerts=session.scalar(alerts.where(AlertRow.acknowledged_at.is_(None), *mine)) or 0,
    )


def _counted(session: Session, query: Select[str, int]) -> Counter[str]:
    counts: Counter[str] = Counter()
    for key, count in session.execute(query):
        counts[key] = count
    return counts


def _attempts(session: Session, since: datetime, until: datetime) -> list[EndedAttempt]:
    query = select(AttemptRow).where(AttemptRow.ended_at >= since, AttemptRow.ended_at < until)
    return [
        EndedAttempt(
            kind=row.kind,
            state=row.state,
            error_type=row.error_type,
            seconds=(row.ended_at - row.started_at).total_seconds() if row.ended_at is not None else 0.0,
            cpu_seconds=row.cpu_seconds or 0.0,
            received_bytes=row.network_received_bytes or 0,
            sent_bytes=row.network_sent_bytes or 0,
        )
        for row in session.scalars(query)
    ]


def _ratio(window: str) -> float:
    return window.count("1") / len(window) if window else 0.0
