"""Figures of any window of time, from the engine's own timings.

Executions belong to a window if they were submitted before its end and were not over before its beginning; durations
and success are those of the executions that ended in it, use of resources that of the attempts that ended in it.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import case, func, or_, select
from sqlalchemy.orm import Session

from airflow_sop_provider.engine.execution_state import ExecutionStatus
from airflow_sop_provider.store.execution_tables import AttemptRow, ExecutionRow

__all__ = ["Durations", "Group", "Metrics", "durations_of", "metrics_of"]

_WAITING = (ExecutionStatus.SUBMITTED.value, ExecutionStatus.QUEUED.value)


@dataclass(frozen=True, kw_only=True)
class Durations:
    """Seconds from the first attempt to the end; a percentile is the smallest value that so many do not exceed."""

    count: int = 0
    mean: float | None = None
    p95: float | None = None
    p99: float | None = None


@dataclass(frozen=True, kw_only=True)
class Group(Durations):
    """The figures of the executions of one control or mode; ``ended``: how many ended in the window, begun or not."""

    ended: int = 0
    success_rate: float | None = None


@dataclass(frozen=True, kw_only=True)
class Metrics:
    """What a window of time comes to.

    :param counts: executions by their status now, in lower case, and ``total``.
    :param success_rate: share of COMPLETED among those that ended in the window, None if none did.
    :param peak_memory_bytes: the highest of any attempt, None if none was measured.
    :param cpu_utilisation: CPU time used, as share of what was requested for as long as it ran; of attempts of which
        both are known, None if there are none. ``memory_utilisation``: the same of peak and requested memory.
    :param network_bytes_per_second: received and sent in a second of an attempt.
    :param errors: attempts that ended with an error, by its type.
    :param error_rate: such attempts' share of those that ended, by type.
    :param queue_depth: executions that wait now.
    """

    counts: dict[str, int]
    success_rate: float | None
    durations: Durations
    by_control: dict[str, Group]
    by_mode: dict[str, Group]
    attempts: int
    cpu_seconds: float
    peak_memory_bytes: int | None
    network_received_bytes: int
    network_sent_bytes: int
    cpu_utilisation: float | None
    memory_utilisation: float | None
    network_bytes_per_second: float | None
    errors: dict[str, int] = field(default_factory=dict)
    error_rate: dict[str, float] = field(default_factory=dict)
    queue_depth: int


@dataclass
class _Gathered:
    """Executions that ended, as they are read."""

    seconds: list[float] = field(default_factory=list)
    ended: int = 0
    completed: int = 0

    def add(self, status: str, began: datetime | None, over: datetime) -> None:
        self.ended += 1
        self.completed += status == ExecutionStatus.COMPLETED.value
        if began is not None:
            self.seconds.append((over - began).total_seconds())

    def figures(self) -> Group:
        rate = self.completed / self.ended if self.ended else None
        return Group(**vars(durations_of(self.seconds)), ended=self.ended, success_rate=rate)


def durations_of(seconds: Iterable[float]) -> Durations:
    """Return mean and percentiles."""
    ordered = sorted(seconds)
    if not ordered:
        return Durations()
    return Durations(
        count=len(ordered),
        mean=math.fsum(ordered) / len(ordered),
        p95=_percentile(ordered, 95),
        p99=_percentile(ordered, 99),
    )


def metrics_of(session: Session, sops: Iterable[str], since: datetime, until: datetime) -> Metrics:
    """Return the figures of a window.

    :param sops: SOPs that whoever asks may see.
    :param since: its beginning, inside.
    :param until: its end, outside.
    """
    names = sorted(sops)
    counts: Counter[str] = Counter()
    all_of = _Gathered()
    by_control: dict[str, _Gathered] = defaultdict(_Gathered)
    by_mode: dict[str, _Gathered] = defaultdict(_Gathered)
    query = select(
        ExecutionRow.status, ExecutionRow.control, ExecutionRow.mode, ExecutionRow.started_at, ExecutionRow.ended_at
    ).where(
        ExecutionRow.sop.in_(names),
        ExecutionRow.submitted_at < until,
        or_(ExecutionRow.ended_at.is_(None), ExecutionRow.ended_at >= since),
    )
    for status, control, mode, began, over in session.execute(query):
        counts[status.lower()] += 1
        if over is None or over >= until:
            continue
        for group in (all_of, by_control[control or ""], by_mode[mode]):
            group.add(status, began, over)
    used = _resources(session, names, since, until)
    errors = _errors(session, names, since, until)
    waiting = select(func.count()).where(ExecutionRow.sop.in_(names), ExecutionRow.status.in_(_WAITING))
    return Metrics(
        counts={**{one.value.lower(): counts[one.value.lower()] for one in ExecutionStatus}, "total": counts.total()},
        success_rate=all_of.figures().success_rate,
        durations=durations_of(all_of.seconds),
        by_control={name: group.figures() for name, group in by_control.items()},
        by_mode={name: group.figures() for name, group in by_mode.items()},
        **used,
        errors=errors,
        error_rate={kind: count / used["attempts"] for kind, count in errors.items()},
        queue_depth=session.scalar(waiting) or 0,
    )


def _resources(session: Session, names: Sequence[str], since: datetime, until: datetime) -> dict[str, Any]:
    row = AttemptRow
    requested_cpu = row.wall_seconds * row.cpu_millis / 1000.0
    found = session.execute(
        select(
            func.count(row.id), func.sum(row.cpu_seconds), func.max(row.peak_memory_bytes),
            func.sum(row.network_received_bytes), func.sum(row.network_sent_bytes),
            func.sum(case((requested_cpu > 0, row.cpu_seconds))),
            func.sum(case((row.cpu_seconds.is_not(None), requested_cpu))),
            func.sum(case((row.memory_bytes > 0, row.peak_memory_bytes))),
            func.sum(case((row.peak_memory_bytes.is_not(None), row.memory_bytes))),
            func.sum(case((row.network_received_bytes.is_not(None), row.wall_seconds))),
        ).join(ExecutionRow, ExecutionRow.id == row.execution_id)
        .where(ExecutionRow.sop.in_(names), row.ended_at >= since, row.ended_at < until)
    ).one()  # fmt: skip
    attempts, cpu, peak, received, sent, cpu_used, cpu_asked, memory_used, memory_asked, seconds = found
    return {
        "attempts": attempts,
        "cpu_seconds": float(cpu or 0),
        "peak_memory_bytes": peak,
        "network_received_bytes": int(received or 0),
        "network_sent_bytes": int(sent or 0),
        "cpu_utilisation": _share(cpu_used, cpu_asked),
        "memory_utilisation": _share(memory_used, memory_asked),
        "network_bytes_per_second": _share((received or 0) + (sent or 0), seconds),
    }


def _share(part: Any, whole: Any) -> float | None:
    return float(part or 0) / float(whole) if whole else None


def _errors(session: Session, names: Sequence[str], since: datetime, until: datetime) -> dict[str, int]:
    query = (
        select(AttemptRow.error_type, func.count())
        .join(ExecutionRow, ExecutionRow.id == AttemptRow.execution_id)
        .where(ExecutionRow.sop.in_(names), AttemptRow.ended_at >= since, AttemptRow.ended_at < until)
        .where(AttemptRow.error_type.is_not(None))
        .group_by(AttemptRow.error_type)
    )
    return {str(kind): count for kind, count in session.execute(query)}


def _percentile(ordered: Sequence[float], percent: int) -> float:
    return ordered[max(0, -(-len(ordered) * percent // 100) - 1)]
