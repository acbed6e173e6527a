"""Alerts, and the outbox from which escalations are delivered at least once."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey, Index, Integer, String, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from airflow_sop_provider.store.base import ID, ID_LENGTH, Base, JsonValue, UtcDateTime, utc_now

__all__ = ["AlertRow", "DeliveryRow", "OutboxRow"]


class AlertRow(Base):
    """Something a rule found, once for each rule and subject."""

    __tablename__ = "sop_alert"
    __table_args__ = (UniqueConstraint("rule", "subject"), Index("idx_sop_alert_raised_at", "raised_at"))

    id: Mapped[int] = mapped_column(ID, primary_key=True, autoincrement=True)
    rule: Mapped[str] = mapped_column(String(80))
    subject: Mapped[str] = mapped_column(String(520))
    execution_id: Mapped[int | None] = mapped_column(ForeignKey("sop_execution.id", ondelete="CASCADE"))
    level: Mapped[str] = mapped_column(String(10))
    message: Mapped[str] = mapped_column(Text)
    details: Mapped[dict[str, Any]] = mapped_column(JsonValue, default=dict)
    raised_at: Mapped[datetime] = mapped_column(UtcDateTime, default=utc_now)
    acknowledged_by: Mapped[str | None] = mapped_column(String(ID_LENGTH))
    acknowledged_at: Mapped[datetime | None] = mapped_column(UtcDateTime)


class OutboxRow(Base):
    """A fact that somebody has to be told; written in the transaction of the fact itself.

    :ivar dedupe_key: the same key again is the same fact.
    """

    __tablename__ = "sop_outbox"
    __table_args__ = (UniqueConstraint("dedupe_key"),)

    id: Mapped[int] = mapped_column(ID, primary_key=True, autoincrement=True)
    kind: Mapped[str] = mapped_column(String(40))
    dedupe_key: Mapped[str] = mapped_column(String(600))
    execution_id: Mapped[int | None] = mapped_column(ForeignKey("sop_execution.id", ondelete="CASCADE"))
    payload: Mapped[dict[str, Any]] = mapped_column(JsonValue)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime, default=utc_now)
    spread_at: Mapped[datetime | None] = mapped_column(UtcDateTime)


class DeliveryRow(Base):
    """An outbox row on its way to one channel.

    :ivar channel: notifier and its arguments' digest; ``target`` holds what is needed to build it.
    :ivar state: ``pending``, ``delivered`` or ``dead``.
    """

    __tablename__ = "sop_delivery"
    __table_args__ = (
        UniqueConstraint("outbox_id", "channel"),
        Index("idx_sop_delivery_state_next", "state", "next_at"),
    )

    id: Mapped[int] = mapped_column(ID, primary_key=True, autoincrement=True)
    outbox_id: Mapped[int] = mapped_column(ForeignKey("sop_outbox.id", ondelete="CASCADE"))
    channel: Mapped[str] = mapped_column(String(ID_LENGTH))
    target: Mapped[dict[str, Any]] = mapped_column(JsonValue)
    state: Mapped[str] = mapped_column(String(20), default="pending")
    tries: Mapped[int] = mapped_column(Integer, default=0)
    next_at: Mapped[datetime] = mapped_column(UtcDateTime, default=utc_now)
    last_error: Mapped[str | None] = mapped_column(Text)
    delivered_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
