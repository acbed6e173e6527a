"""Retention: what is old enough and not held is pruned, and the chain still says that it was, and up to where.

A pruned chain keeps one entry, `prune`, with the number and hash of the last one that is gone. That hash was signed by
a digest before, and nothing is pruned that was not, so nobody can remove entries and call it retention.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy import delete, or_, select, update
from sqlalchemy.orm import Session

from airflow_sop_provider.audit.entries import AuditFields
from airflow_sop_provider.store.audit_append import append
from airflow_sop_provider.store.audit_tables import AuditChainRow, AuditEntryRow, LegalHoldRow
from airflow_sop_provider.store.execution_tables import ExecutionRow

__all__ = ["DEFAULT_DAYS", "HOLDS", "MINIMUM_DAYS", "RetentionError", "place_hold", "prune", "release_hold"]

DEFAULT_DAYS = 400
MINIMUM_DAYS = 90
HOLDS = "~holds"
"""The chain in which holds are recorded."""

_CHAINS = 500  # of one transaction


class RetentionError(ValueError):
    """The policy, or a hold, cannot be as it is said."""


def prune(session: Session, now: datetime, days: int = DEFAULT_DAYS) -> int:
    """Prune chains of executions that ended more than ``days`` ago; return how many. Call again until 0.

    :raises RetentionError: fewer days than `MINIMUM_DAYS`.
    """
    if days < MINIMUM_DAYS:
        raise RetentionError(f"Entries are kept for {MINIMUM_DAYS} days at least; {days} are fewer.")
    held = select(LegalHoldRow.id).where(
        LegalHoldRow.released_at.is_(None),
        or_(LegalHoldRow.sop.is_(None), LegalHoldRow.sop == ExecutionRow.sop),
        or_(LegalHoldRow.run_id.is_(None), LegalHoldRow.run_id == ExecutionRow.run_id),
    )
    old = session.scalars(
        select(AuditChainRow)
        .join(ExecutionRow, ExecutionRow.sop + "/" + ExecutionRow.run_id == AuditChainRow.name)
        .where(
            ExecutionRow.ended_at < now - timedelta(days=days),
            AuditChainRow.undigested.is_(False),
            AuditChainRow.pruned_seq == 0,
            ~held.correlate(ExecutionRow).exists(),
        )
        .limit(_CHAINS)
    ).all()
    for chain in old:
        _prune(session, chain, days)
    return len(old)


def _prune(session: Session, chain: AuditChainRow, days: int) -> None:
    last_seq, head = chain.seq, chain.head
    message = f"Entries 1 to {last_seq} were removed by retention ({days} days)"
    metadata = {"last_seq": last_seq, "head": head, "days": days}
    append(session, chain.name, [AuditFields(kind="prune", component="engine", message=message, metadata=metadata)])
    session.execute(
        delete(AuditEntryRow)
        .where(AuditEntryRow.chain_id == chain.id, AuditEntryRow.seq <= last_seq)
        .execution_options(synchronize_session=False)
    )
    session.execute(
        update(AuditChainRow)
        .where(AuditChainRow.id == chain.id)
        .values(pruned_seq=last_seq, pruned_head=head)
        .execution_options(synchronize_session=False)
    )


def place_hold(session: Session, *, by: str, reason: str, sop: str | None = None, run_id: str | None = None) -> int:
    """Keep what ``sop`` and ``run_id`` name until the hold is released; return its number.

    :param sop: None: everything.
    :param run_id: None: all executions of the SOP.
    :raises RetentionError: a run without its SOP, or no reason.
    """
    if run_id is not None and sop is None:
        raise RetentionError("A hold on a run must name its SOP, too.")
    if not reason.strip():
        raise RetentionError("A hold needs a reason.")
    hold = LegalHoldRow(sop=sop, run_id=run_id, reason=reason, placed_by=by)
    session.add(hold)
    session.flush()
    what = "everything" if sop is None else f"{sop}/{run_id or '*'}"
    _record(session, f"Legal hold {hold.id} on {what} was placed", by, {"hold": hold.id, "reason": reason})
    return hold.id


def release_hold(session: Session, hold_id: int, *, by: str, now: datetime) -> None:
    """Release a hold.

    :raises RetentionError: there is none of that number, or it is released already.
    """
    hold = session.get(LegalHoldRow, hold_id)
    if hold is None or hold.released_at is not None:
        raise RetentionError(f"There is no legal hold {hold_id} that could be released.")
    hold.released_by, hold.released_at = by, now
    _record(session, f"Legal hold {hold_id} was released", by, {"hold": hold_id})


def _record(session: Session, message: str, by: str, metadata: dict[str, object]) -> None:
    said = AuditFields(kind="hold", component=f"user:{by}", message=message, metadata=metadata)
    append(session, HOLDS, [said])
