"""Changes of a control's mode: kept, and in an audit chain of the control's own."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from airflow_sop_provider.audit.entries import SYSTEM_CHAIN, AuditFields
from airflow_sop_provider.store.audit_append import append
from airflow_sop_provider.store.control_tables import ModeChangeRow

__all__ = ["ModeChange", "mode_chain", "mode_changes_of", "record_mode_change"]


@dataclass(frozen=True, kw_only=True)
class ModeChange:
    """One change.

    :param old_digest: SHA-256 (hex) of the document before, ``new_digest`` after it.
    """

    sop: str
    control: str | None
    old_mode: str
    new_mode: str
    old_digest: str
    new_digest: str
    changed_by: str
    reason: str | None = None


def mode_chain(sop: str) -> str:
    """Return the name of the audit chain that holds an SOP's changes of mode."""
    return f"{SYSTEM_CHAIN}mode/{sop}"


def record_mode_change(session: Session, change: ModeChange) -> ModeChangeRow:
    """Store a change with its audit entry; executions that have started keep the mode they have."""
    row = ModeChangeRow(**vars(change))
    session.add(row)
    said = AuditFields(
        kind="mode.change",
        component=f"user:{change.changed_by}",
        message=f"{change.sop}: mode {change.old_mode} -> {change.new_mode}",
        metadata=vars(change),
    )
    append(session, mode_chain(change.sop), [said])
    session.flush()
    return row


def mode_changes_of(session: Session, sop: str, limit: int = 100) -> list[ModeChangeRow]:
    """Return an SOP's changes of mode, the newest first."""
    query = select(ModeChangeRow).where(ModeChangeRow.sop == sop).order_by(ModeChangeRow.id.desc()).limit(limit)
    return list(session.scalars(query))
