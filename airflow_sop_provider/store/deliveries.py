"""From the outbox to those who are to be told, at least once, whoever dies in between.

A fact is spread into one delivery for each channel; a delivery is claimed before it is tried, and a claim that nobody
settles ends by itself. So one who is killed after telling and before settling tells twice, and never not at all.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import func, or_, select, update
from sqlalchemy.orm import Session

from airflow_sop_provider.audit.entries import AuditFields
from airflow_sop_provider.store.alert_tables import DeliveryRow, OutboxRow
from airflow_sop_provider.store.audit_append import append
from airflow_sop_provider.store.execution_tables import ExecutionRow

__all__ = ["Claim", "backoff", "channel_of", "claim", "deliveries_of", "settle", "spread"]

_AT_ONCE = 200
_CLAIM = timedelta(minutes=2)
_MINUTE = timedelta(minutes=1)
_LONGEST = 300
_ERROR_LIMIT = 1000


@dataclass(frozen=True, kw_only=True)
class Claim:
    """A delivery that is ours to try.

    :param id: of the delivery.
    :param target: ``notifier`` (dotted path) and ``kwargs``.
    :param tries: counting this one.
    :param message: what is told; ``id`` is the same each time the fact is told.
    """

    id: int
    channel: str
    target: dict[str, Any]
    tries: int
    message: dict[str, Any]


def backoff(tries: int) -> timedelta:
    """Return how long to wait after that many tries that failed: 1, 2, 4 ... seconds, 5 minutes at most."""
    return timedelta(seconds=min(_LONGEST, 2 ** min(tries - 1, 20)))


def channel_of(target: Mapping[str, Any]) -> str:
    """Return the name of a channel: the notifier, and a digest of it and its arguments."""
    text = json.dumps([target["notifier"], target.get("kwargs") or {}], sort_keys=True, default=str)
    return f"{target['notifier'][-200:]}#{hashlib.sha256(text.encode()).hexdigest()[:16]}"


def spread(session: Session, site: Sequence[Mapping[str, Any]], now: datetime) -> int:
    """Make deliveries of facts that have none yet; return how many.

    :param site: channels that hear of everything, beside those of the execution's SOP. Equal ones are one.
    """
    made = 0
    waiting = select(OutboxRow).where(OutboxRow.spread_at.is_(None)).order_by(OutboxRow.id).limit(_AT_ONCE)
    for fact in session.scalars(waiting.with_for_update(skip_locked=True)).all():
        execution = None if fact.execution_id is None else session.get(ExecutionRow, fact.execution_id)
        own = () if execution is None else execution.context.get("escalation", ())
        for channel, target in {channel_of(one): one for one in (*own, *site)}.items():
            value = {"notifier": target["notifier"], "kwargs": dict(target.get("kwargs") or {})}
            session.add(DeliveryRow(outbox_id=fact.id, channel=channel, target=value, next_at=now))
            made += 1
        fact.spread_at = now
    session.flush()
    return made


def claim(session: Session, now: datetime, *, per_minute: int) -> Claim | None:
    """Claim the delivery that is due for longest, None if there is none.

    :param per_minute: so many a channel is told in a minute; the rest of its deliveries wait, those of others do not.
    """
    busy = (
        select(DeliveryRow.channel)
        .where(DeliveryRow.delivered_at > now - _MINUTE)
        .group_by(DeliveryRow.channel)
        .having(func.count() >= per_minute)
    )
    due = (
        select(DeliveryRow)
        .where(DeliveryRow.state == "pending", DeliveryRow.next_at <= now, DeliveryRow.channel.not_in(busy))
        .order_by(DeliveryRow.next_at, DeliveryRow.id)
        .limit(1)
    )
    row = session.scalars(due).one_or_none()
    if row is None:
        return None
    taken = session.execute(
        update(DeliveryRow)
        .where(DeliveryRow.id == row.id, DeliveryRow.state == "pending", DeliveryRow.tries == row.tries)
        .values(tries=row.tries + 1, next_at=now + _CLAIM)
        .execution_options(synchronize_session=False)
    )
    session.refresh(row)
    if taken.rowcount != 1:  # type: ignore[attr-defined]  # of a cursor's result, which an UPDATE has
        return None  # another dispatcher was faster; the next turn looks again
    fact = session.get_one(OutboxRow, row.outbox_id)
    message = {**fact.payload, "kind": fact.kind, "id": fact.dedupe_key}
    return Claim(id=row.id, channel=row.channel, target=dict(row.target), tries=row.tries, message=message)


def settle(session: Session, claimed: Claim, error: str | None, now: datetime, *, max_tries: int) -> str:
    """Note how a delivery went and return its state: ``delivered``, ``pending`` (tried again) or ``dead``.

    :param error: None if it went well.
    """
    row = session.get(DeliveryRow, claimed.id)
    if row is None or row.state != "pending":
        return "gone" if row is None else row.state
    if error is None:
        row.state, row.delivered_at, row.last_error = "delivered", now, None
    else:
        row.last_error = error[:_ERROR_LIMIT]
        row.state = "dead" if row.tries >= max_tries else "pending"
        row.next_at = now + backoff(row.tries)
    session.flush()
    if row.state != "pending":
        _note(session, row, now)
    return row.state


def deliveries_of(
    session: Session, sops: Iterable[str], *, state: str | None = None, engine: bool = False, limit: int = 100
) -> list[tuple[DeliveryRow, OutboxRow, ExecutionRow | None]]:
    """Return deliveries about executions of these SOPs, the newest first.

    :param state: ``pending``, ``delivered`` or ``dead``; None: any.
    :param engine: also those about no execution, such as a broken chain of the engine's own.
    """
    seen = ExecutionRow.sop.in_(sorted(sops))
    query = (
        select(DeliveryRow, OutboxRow, ExecutionRow)
        .join(OutboxRow, OutboxRow.id == DeliveryRow.outbox_id)
        .outerjoin(ExecutionRow, ExecutionRow.id == OutboxRow.execution_id)
        .where(or_(seen, OutboxRow.execution_id.is_(None)) if engine else seen)
        .order_by(DeliveryRow.id.desc())
        .limit(limit)
    )
    if state is not None:
        query = query.where(DeliveryRow.state == state)
    return [(delivery, fact, execution) for delivery, fact, execution in session.execute(query)]


def _note(session: Session, row: DeliveryRow, now: datetime) -> None:
    fact = session.get_one(OutboxRow, row.outbox_id)
    execution = None if fact.execution_id is None else session.get(ExecutionRow, fact.execution_id)
    if execution is None:
        return
    told = row.state == "delivered"
    said = AuditFields(
        kind="escalation",
        component="engine",
        level="info" if told else "error",
        time=now,
        message=f"{row.channel} was told" if told else f"{row.channel} could not be told in {row.tries} tries",
        metadata={"kind": fact.kind, "channel": row.channel, "state": row.state, "tries": row.tries},
    )
    append(session, execution.name, [said])
