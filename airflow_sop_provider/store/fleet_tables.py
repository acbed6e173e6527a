"""What the fleet's gateway remembers: tools as they were validated, calls that had an effect, breakers."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import Index, Integer, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from airflow_sop_provider.store.base import ID_LENGTH, Base, JsonValue, UtcDateTime, utc_now

__all__ = ["BreakerRow", "ToolCallRow", "ToolSnapshotRow"]


class ToolSnapshotRow(Base):
    """A tool's definition as it was when the SOP was last validated; another one is refused."""

    __tablename__ = "sop_tool_snapshot"

    sop: Mapped[str] = mapped_column(String(ID_LENGTH), primary_key=True)
    server: Mapped[str] = mapped_column(String(ID_LENGTH), primary_key=True)
    tool: Mapped[str] = mapped_column(String(ID_LENGTH), primary_key=True)
    digest: Mapped[str] = mapped_column(String(64))
    definition: Mapped[dict[str, Any]] = mapped_column(JsonValue)
    validated_by: Mapped[str | None] = mapped_column(String(ID_LENGTH))
    validated_at: Mapped[datetime] = mapped_column(UtcDateTime, default=utc_now)


class ToolCallRow(Base):
    """A call under its idempotency key: begun, or done with its result."""

    __tablename__ = "sop_tool_call"
    __table_args__ = (Index("idx_sop_tool_call_execution", "sop", "run_id"),)

    key: Mapped[str] = mapped_column(String(64), primary_key=True)
    sop: Mapped[str] = mapped_column(String(ID_LENGTH))
    run_id: Mapped[str] = mapped_column(String(ID_LENGTH))
    step: Mapped[str] = mapped_column(String(ID_LENGTH))
    map_index: Mapped[int] = mapped_column(Integer, default=-1)
    server: Mapped[str] = mapped_column(String(ID_LENGTH))
    tool: Mapped[str] = mapped_column(String(ID_LENGTH))
    state: Mapped[str] = mapped_column(String(10))
    result: Mapped[str | None] = mapped_column(Text)
    begun_at: Mapped[datetime] = mapped_column(UtcDateTime, default=utc_now)
    ended_at: Mapped[datetime | None] = mapped_column(UtcDateTime)


class BreakerRow(Base):
    """The circuit breaker of one server, shared by all gateways.

    :ivar window: outcomes of the last requests, oldest first: ``1`` failed, ``0`` did not.
    """

    __tablename__ = "sop_breaker"

    server: Mapped[str] = mapped_column(String(ID_LENGTH), primary_key=True)
    state: Mapped[str] = mapped_column(String(10))
    window: Mapped[str] = mapped_column(Text, default="")
    opened_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    probe_by: Mapped[str | None] = mapped_column(String(120))
    updated_at: Mapped[datetime] = mapped_column(UtcDateTime, default=utc_now, onupdate=utc_now)
