"""Reading executions: filtered, in a stable order, page by page."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import ColumnElement, select
from sqlalchemy.orm import Session, defer

from airflow_sop_provider.store.execution_tables import AttemptRow, ExecutionRow

__all__ = ["BadCursorError", "ExecutionFilter", "attempts_of", "page_of"]


class BadCursorError(ValueError):
    """The cursor is none that an earlier answer gave."""


@dataclass(frozen=True, kw_only=True)
class ExecutionFilter:
    """What executions are asked for; None or empty: any, except ``sops``.

    :param sops: SOPs that whoever asks may see; none means nothing.
    """

    sops: frozenset[str]
    control: str | None = None
    statuses: tuple[str, ...] = ()
    mode: str | None = None
    priority: str | None = None
    agent: str | None = None
    batch: str | None = None
    submitted_from: datetime | None = None
    submitted_until: datetime | None = None


def page_of(
    session: Session, wanted: ExecutionFilter, *, limit: int, cursor: str | None = None
) -> tuple[Sequence[ExecutionRow], str | None]:
    """Return executions, the newest first, and the cursor for those after them, None if there are none.

    New executions do not shift a page: the cursor is the number of the last one seen, which never changes.

    :raises BadCursorError: the cursor is not one of ours.
    """
    query = select(ExecutionRow).where(*_conditions(wanted)).order_by(ExecutionRow.id.desc()).limit(limit + 1)
    query = query.options(defer(ExecutionRow.context), defer(ExecutionRow.result))
    if cursor is not None:
        query = query.where(ExecutionRow.id < _number(cursor))
    rows = session.scalars(query).all()
    return rows[:limit], str(rows[limit - 1].id) if len(rows) > limit else None


def attempts_of(session: Session, execution: ExecutionRow) -> Sequence[AttemptRow]:
    """Return every attempt of an execution in the order in which they began."""
    query = select(AttemptRow).where(AttemptRow.execution_id == execution.id).order_by(AttemptRow.id)
    return session.scalars(query).all()


def _conditions(wanted: ExecutionFilter) -> Iterable[ColumnElement[bool]]:
    yield ExecutionRow.sop.in_(sorted(wanted.sops))
    for name in ("control", "mode", "priority", "agent", "batch"):
        value: Any = getattr(wanted, name)
        if value is not None:
            yield getattr(ExecutionRow, name) == value
    if wanted.statuses:
        yield ExecutionRow.status.in_(wanted.statuses)
    if wanted.submitted_from is not None:
        yield ExecutionRow.submitted_at >= _aware(wanted.submitted_from)
    if wanted.submitted_until is not None:
        yield ExecutionRow.submitted_at < _aware(wanted.submitted_until)


def _aware(moment: datetime) -> datetime:
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment


def _number(cursor: str) -> int:
    if not cursor.isdecimal() or len(cursor) > 18:
        raise BadCursorError("The cursor is not one that an earlier answer gave; ask without it.")
    return int(cursor)
