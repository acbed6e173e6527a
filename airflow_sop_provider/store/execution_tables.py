"""Executions, their attempts, the documents they carried out, and the keys under which they were submitted."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import JSON, BigInteger, Float, ForeignKey, Index, Integer, String, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from airflow_sop_provider.store.base import ID, ID_LENGTH, Base, JsonValue, UtcDateTime, utc_now

__all__ = ["AttemptRow", "CheckpointRow", "DocumentRow", "ExecutionRow", "SubmissionRow"]

_DIGEST = 64


class DocumentRow(Base):
    """An SOP document that was executed; kept for as long as an execution or a hold names it.

    :ivar digest: SHA-256 (hex) of its bytes.
    """

    __tablename__ = "sop_document"

    digest: Mapped[str] = mapped_column(String(_DIGEST), primary_key=True)
    sop: Mapped[str] = mapped_column(String(ID_LENGTH))
    version: Mapped[str] = mapped_column(String(ID_LENGTH))
    text: Mapped[str] = mapped_column(Text)
    first_seen_at: Mapped[datetime] = mapped_column(UtcDateTime, default=utc_now)


class ExecutionRow(Base):
    """One execution: what it is given at its start (the context), where it stands, what it came to.

    :ivar context: `ExecutionContext` as JSON: steps, data sources, agent, resources, schedule.
    :ivar status: `ExecutionStatus`.
    :ivar result: `ExecutionResult` as JSON, once it is over.
    :ivar flagged: it has taken longer than `engine.alert_rules` allows.
    """

    __tablename__ = "sop_execution"
    __table_args__ = (
        UniqueConstraint("sop", "run_id"),
        Index("idx_sop_execution_status_id", "status", "id"),
        Index("idx_sop_execution_control_id", "control", "id"),
        Index("idx_sop_execution_control_type_ended", "control_type", "ended_at"),
        Index("idx_sop_execution_batch_id", "batch", "id"),
        Index("idx_sop_execution_submitted_id", "submitted_at", "id"),
        Index("idx_sop_execution_ended_at", "ended_at"),
    )

    id: Mapped[int] = mapped_column(ID, primary_key=True, autoincrement=True)
    sop: Mapped[str] = mapped_column(String(ID_LENGTH))
    run_id: Mapped[str] = mapped_column(String(ID_LENGTH))
    version: Mapped[str | None] = mapped_column(String(ID_LENGTH))
    digest: Mapped[str | None] = mapped_column(String(_DIGEST))
    control: Mapped[str | None] = mapped_column(String(ID_LENGTH))
    control_type: Mapped[str | None] = mapped_column(String(ID_LENGTH))
    mode: Mapped[str] = mapped_column(String(20))
    priority: Mapped[str] = mapped_column(String(20))
    owner: Mapped[str | None] = mapped_column(String(ID_LENGTH))
    agent: Mapped[str | None] = mapped_column(String(ID_LENGTH))
    batch: Mapped[str | None] = mapped_column(String(ID_LENGTH))
    run_type: Mapped[str] = mapped_column(String(50))
    requested_by: Mapped[str | None] = mapped_column(String(ID_LENGTH))
    inputs: Mapped[dict[str, Any]] = mapped_column(JsonValue, default=dict)
    context: Mapped[dict[str, Any]] = mapped_column(JsonValue, default=dict)
    status: Mapped[str] = mapped_column(String(20))
    result: Mapped[dict[str, Any] | None] = mapped_column(JsonValue)
    expected_seconds: Mapped[float | None] = mapped_column(Float)
    flagged: Mapped[bool] = mapped_column(default=False)
    cancelled_by: Mapped[str | None] = mapped_column(String(ID_LENGTH))
    cancel_reason: Mapped[str | None] = mapped_column(Text)
    submitted_at: Mapped[datetime] = mapped_column(UtcDateTime)
    run_after: Mapped[datetime | None] = mapped_column(UtcDateTime)
    started_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    ended_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    updated_at: Mapped[datetime] = mapped_column(UtcDateTime, default=utc_now, onupdate=utc_now)

    @property
    def name(self) -> str:
        """``sop/run_id``, the execution's id as people and the audit log write it."""
        return f"{self.sop}/{self.run_id}"


class AttemptRow(Base):
    """One try of one step.

    :ivar state: ``running``, ``succeeded``, ``failed``, ``skipped``, ``stopped``; ``retrying``: another follows.
    :ivar data_sources: what it may touch in the fleet: name -> {server, tools}.
    :ivar pod_uid: of its pod on Kubernetes; its token names it.
    :ivar events_seen: number of runner events stored, which the runner counts from 1.
    """

    __tablename__ = "sop_attempt"
    __table_args__ = (
        UniqueConstraint("task_instance_id", "attempt"),
        Index("idx_sop_attempt_execution_step", "execution_id", "step", "map_index", "attempt"),
        Index("idx_sop_attempt_pod_uid", "pod_uid"),
        Index("idx_sop_attempt_container", "container"),
        Index("idx_sop_attempt_ended_at", "ended_at"),
        Index("idx_sop_attempt_state", "state"),
    )

    id: Mapped[int] = mapped_column(ID, primary_key=True, autoincrement=True)
    execution_id: Mapped[int] = mapped_column(ForeignKey("sop_execution.id", ondelete="CASCADE"))
    step: Mapped[str] = mapped_column(String(ID_LENGTH))
    map_index: Mapped[int] = mapped_column(Integer, default=-1)
    attempt: Mapped[int] = mapped_column(Integer)
    task_instance_id: Mapped[str] = mapped_column(String(36))
    kind: Mapped[str] = mapped_column(String(20))
    state: Mapped[str] = mapped_column(String(20))
    runtime: Mapped[str | None] = mapped_column(String(20))
    container: Mapped[str | None] = mapped_column(String(63))
    image: Mapped[str | None] = mapped_column(Text)
    pod_uid: Mapped[str | None] = mapped_column(String(64))
    data_sources: Mapped[dict[str, Any]] = mapped_column(JsonValue, default=dict)
    error_type: Mapped[str | None] = mapped_column(String(20))
    error_code: Mapped[str | None] = mapped_column(String(100))
    error_message: Mapped[str | None] = mapped_column(Text)
    evidence: Mapped[dict[str, Any] | None] = mapped_column(JsonValue)
    retry_delay_seconds: Mapped[float | None] = mapped_column(Float)
    retry_reason: Mapped[str | None] = mapped_column(Text)
    memory_bytes: Mapped[int | None] = mapped_column(BigInteger)
    cpu_millis: Mapped[int | None] = mapped_column(Integer)
    cpu_seconds: Mapped[float | None] = mapped_column(Float)
    wall_seconds: Mapped[float | None] = mapped_column(Float)
    peak_memory_bytes: Mapped[int | None] = mapped_column(BigInteger)
    network_received_bytes: Mapped[int | None] = mapped_column(BigInteger)
    network_sent_bytes: Mapped[int | None] = mapped_column(BigInteger)
    usage: Mapped[dict[str, Any] | None] = mapped_column(JsonValue)
    outputs_digest: Mapped[str | None] = mapped_column(String(_DIGEST))
    events_seen: Mapped[int] = mapped_column(Integer, default=0)
    heartbeat_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    started_at: Mapped[datetime] = mapped_column(UtcDateTime)
    ended_at: Mapped[datetime | None] = mapped_column(UtcDateTime)


class SubmissionRow(Base):
    """An idempotency key and the execution it stands for: the same key again gives the same execution."""

    __tablename__ = "sop_submission"
    __table_args__ = (UniqueConstraint("requested_by", "key"),)

    id: Mapped[int] = mapped_column(ID, primary_key=True, autoincrement=True)
    requested_by: Mapped[str] = mapped_column(String(ID_LENGTH))
    key: Mapped[str] = mapped_column(String(ID_LENGTH))
    request_digest: Mapped[str] = mapped_column(String(_DIGEST))
    sop: Mapped[str] = mapped_column(String(ID_LENGTH))
    run_id: Mapped[str] = mapped_column(String(ID_LENGTH))
    created_at: Mapped[datetime] = mapped_column(UtcDateTime, default=utc_now)


class CheckpointRow(Base):
    """What an agent has done so far, for the attempt that comes after it.

    :ivar data: as text and not as JSONB, which forgets the order of keys: that in which the steps were done.
    """

    __tablename__ = "sop_checkpoint"

    execution_id: Mapped[int] = mapped_column(ForeignKey("sop_execution.id", ondelete="CASCADE"), primary_key=True)
    step: Mapped[str] = mapped_column(String(ID_LENGTH), primary_key=True)
    map_index: Mapped[int] = mapped_column(Integer, primary_key=True)
    attempt: Mapped[int] = mapped_column(Integer)
    data: Mapped[dict[str, Any]] = mapped_column(JSON)
    updated_at: Mapped[datetime] = mapped_column(UtcDateTime, default=utc_now, onupdate=utc_now)
