"""Reading the audit log: entries by filters in a stable order, page by page, and a chain as a whole.

Pages are cut by a cursor, not by an offset: an entry that is appended while somebody turns pages neither hides nor
doubles another. The order is that of time, then chain, then number, which no two entries share.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, exists, select, tuple_
from sqlalchemy.orm import Session

from airflow_sop_provider.audit.entries import Entry, audit_time
from airflow_sop_provider.store.audit_tables import AuditChainRow, AuditEntryRow
from airflow_sop_provider.store.execution_tables import ExecutionRow

__all__ = ["MAX_PAGE", "AuditFilter", "CursorError", "EntryPage", "chain_entries", "entry_of", "query_entries"]

MAX_PAGE = 1000
_COLUMNS = (
    "seq", "time", "kind", "component", "level", "agent", "step", "map_index", "attempt", "message", "previous", "hash",
)  # fmt: skip


class CursorError(ValueError):
    """A cursor is not one that a page of ours had."""


@dataclass(frozen=True, kw_only=True)
class AuditFilter:
    """Which entries; what is None is not asked for, and all that is asked for must hold.

    :param execution: ``sop/run_id``, or the name of another chain.
    :param since: from this time on, ``until``: before this time; that at which it happened.
    :param status: the execution's status now, such as ``FAILED``.
    :param text: part of the message, in any case.
    """

    execution: str | None = None
    sop: str | None = None
    agent: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    status: str | None = None
    level: str | None = None
    kind: str | None = None
    step: str | None = None
    text: str | None = None


@dataclass(frozen=True)
class EntryPage:
    """Some entries, and where the next page begins; None after the last one."""

    entries: tuple[Entry, ...]
    cursor: str | None


def query_entries(
    session: Session,
    wanted: AuditFilter,
    *,
    limit: int = 100,
    cursor: str | None = None,
    sops: Sequence[str] | None = None,
) -> EntryPage:
    """Return a page of the entries that match, the oldest first.

    :param sops: ids of the SOPs whose executions may be seen, None: all, and the engine's own chains.
    :raises CursorError: the cursor is none.
    """
    limit = max(1, min(limit, MAX_PAGE))
    place = (AuditEntryRow.time, AuditEntryRow.chain_id, AuditEntryRow.seq)
    query = select(AuditEntryRow, AuditChainRow.name).join(AuditChainRow, AuditChainRow.id == AuditEntryRow.chain_id)
    query = query.where(*_conditions(wanted))
    if sops is not None:
        query = query.where(_execution_of_chain(ExecutionRow.sop.in_(sops)))
    if cursor is not None:
        query = query.where(tuple_(*place) > tuple_(*_decoded(cursor)))
    found = session.execute(query.order_by(*place).limit(limit + 1)).all()
    entries = tuple(entry_of(row, name) for row, name in found[:limit])
    more = len(found) > limit
    return EntryPage(entries, _encoded(found[limit - 1][0]) if more else None)


def chain_entries(session: Session, chain: str, after: int = 0) -> list[Entry]:
    """Return the entries of a chain in the order of their numbers, those with a number above ``after``."""
    rows = session.scalars(
        select(AuditEntryRow)
        .join(AuditChainRow, AuditChainRow.id == AuditEntryRow.chain_id)
        .where(AuditChainRow.name == chain, AuditEntryRow.seq > after)
        .order_by(AuditEntryRow.seq)
    )
    return [entry_of(row, chain) for row in rows]


def entry_of(row: AuditEntryRow, chain: str) -> Entry:
    """Return a row as an entry; whether its hash is right is not looked at.

    Metadata that somebody made unreadable stands in it as text, so that whoever verifies the entry can name it.
    """
    values: dict[str, Any] = {name: getattr(row, name) for name in _COLUMNS}
    return Entry.from_dict({**values, "execution": chain, "metadata": _metadata(row.meta)})


def _metadata(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except ValueError:
        value = None
    return value if isinstance(value, dict) else {"unreadable": text}


def _conditions(wanted: AuditFilter) -> list[ColumnElement[bool]]:
    equal: dict[Any, str | None] = {
        AuditChainRow.name: wanted.execution,
        AuditEntryRow.agent: wanted.agent,
        AuditEntryRow.level: wanted.level,
        AuditEntryRow.kind: wanted.kind,
        AuditEntryRow.step: wanted.step,
    }
    conditions: list[ColumnElement[bool]] = [column == value for column, value in equal.items() if value is not None]
    if wanted.since is not None:
        conditions.append(AuditEntryRow.time >= audit_time(wanted.since))
    if wanted.until is not None:
        conditions.append(AuditEntryRow.time < audit_time(wanted.until))
    if wanted.text is not None:
        conditions.append(AuditEntryRow.message.icontains(wanted.text, autoescape=True))
    if wanted.sop is not None:
        conditions.append(_execution_of_chain(ExecutionRow.sop == wanted.sop))
    if wanted.status is not None:
        conditions.append(_execution_of_chain(ExecutionRow.status == wanted.status))
    return conditions


def _execution_of_chain(condition: ColumnElement[bool]) -> ColumnElement[bool]:
    name = ExecutionRow.sop + "/" + ExecutionRow.run_id
    return exists().where(name == AuditChainRow.name, condition).correlate(AuditChainRow)


def _encoded(row: AuditEntryRow) -> str:
    return base64.urlsafe_b64encode(json.dumps([row.time, row.chain_id, row.seq]).encode()).decode()


def _decoded(cursor: str) -> tuple[str, int, int]:
    try:
        time, chain, seq = json.loads(base64.urlsafe_b64decode(cursor.encode()))
        return str(time), int(chain), int(seq)
    except (binascii.Error, ValueError, TypeError) as error:
        raise CursorError("The cursor is none of ours: take it unchanged from the page before.") from error
