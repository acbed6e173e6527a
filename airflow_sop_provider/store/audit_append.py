"""Appending to the audit log: the only way an entry comes into being.

A chain has one head, and whoever appends moves it: on PostgreSQL the chain's row is locked meanwhile, on SQLite the
head is moved only if it is still the one that was read, and tried again otherwise. Entries are stored in the caller's
transaction, so that a fact and its entry are there together or not at all. A transaction of several facts moves each
head once: `gathered`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

from sqlalchemy import insert, select, update
from sqlalchemy.orm import Session

from airflow_sop_provider.audit.canonical import canonical
from airflow_sop_provider.audit.entries import AuditFields, Entry, chain_entry
from airflow_sop_provider.audit.masking import Masker
from airflow_sop_provider.store.audit_tables import AuditChainRow, AuditEntryRow
from airflow_sop_provider.store.base import insert_if_absent

__all__ = ["ChainBusyError", "append", "gathered"]

_TRIES = 50
_ENTRIES = AuditEntryRow.metadata.tables[AuditEntryRow.__tablename__]
_GATHERED = "sop_audit_gathered"


class ChainBusyError(RuntimeError):
    """Others appended to the chain whenever we tried; trying the transaction again helps."""


class _Head(NamedTuple):
    id: int
    seq: int
    head: str | None


class _Said(NamedTuple):
    fields: AuditFields
    masker: Masker | None


def append(session: Session, chain: str, said: Sequence[AuditFields], *, masker: Masker | None = None) -> None:
    """Append entries to a chain, which begins with them if there is none of that name.

    :param chain: the execution's ``sop/run_id``, or a name that begins with ``~``.
    :param masker: knows secrets that must not be stored; default: by name and form only.
    :raises ChainBusyError: others appended all the time.
    """
    if not said:
        return
    waiting: dict[str, list[_Said]] | None = session.info.get(_GATHERED)
    entries = [_Said(fields, masker) for fields in said]
    if waiting is None:
        _append_now(session, chain, entries)
    else:
        waiting.setdefault(chain, []).extend(entries)


@contextmanager
def gathered(session: Session) -> Iterator[None]:
    """Append what is said within the block at its end, in its order; nothing if the block raises.

    :raises ChainBusyError: others appended all the time.
    """
    waiting: dict[str, list[_Said]] = {}
    session.info[_GATHERED] = waiting
    try:
        yield
    finally:
        del session.info[_GATHERED]
    for chain, entries in waiting.items():
        _append_now(session, chain, entries)


def _append_now(session: Session, chain: str, said: Sequence[_Said]) -> None:
    for _ in range(_TRIES):
        head = _head(session, chain)
        entries = list(_chained(chain, head, said))
        moved = session.execute(
            update(AuditChainRow)
            .where(AuditChainRow.id == head.id, AuditChainRow.seq == head.seq)
            .values(seq=entries[-1].seq, head=entries[-1].hash, undigested=True)
            .execution_options(synchronize_session=False)
        )
        if moved.rowcount == 1:  # type: ignore[attr-defined]  # of a cursor's result, which an UPDATE has
            # Into the table, not as objects: those would be one statement for each set of fields that are not None.
            session.execute(insert(_ENTRIES), [_row(head.id, entry) for entry in entries])
            return
    raise ChainBusyError(f"the audit chain {chain} is appended to by others all the time")


def _head(session: Session, chain: str) -> _Head:
    query = select(AuditChainRow.id, AuditChainRow.seq, AuditChainRow.head).where(AuditChainRow.name == chain)
    query = query.with_for_update()
    found = session.execute(query).one_or_none()
    if found is None:
        insert_if_absent(session, AuditChainRow, {"name": chain})  # somebody else may begin it just now
        found = session.execute(query).one()
    return _Head(*found)


def _chained(chain: str, head: _Head, said: Iterable[_Said]) -> Iterable[Entry]:
    seq, previous = head.seq, head.head
    for fields, masker in said:
        seq += 1
        entry = chain_entry(chain, previous, seq, fields, masker=masker)
        previous = entry.hash
        yield entry


def _row(chain_id: int, entry: Entry) -> dict[str, Any]:
    row = entry.to_dict()
    row.pop("execution")
    return {**row, "chain_id": chain_id, "meta": canonical(row.pop("metadata")).decode()}
