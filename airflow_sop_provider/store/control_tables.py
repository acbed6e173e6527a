"""What people decide: approvals and their answers, changes of a control's mode; and who does the engine's own work."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey, Index, Integer, String, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from airflow_sop_provider.store.base import ID, ID_LENGTH, Base, JsonValue, UtcDateTime, utc_now

__all__ = ["ApprovalAnswerRow", "ApprovalRow", "LeaseRow", "ModeChangeRow", "PositionRow"]


class ApprovalRow(Base):
    """A question to people, bound to the exact inputs, results and document it was asked about.

    Of those about one step the last is the one that counts.

    :ivar task_instance_id: of the task that waits for it.
    :ivar subject_digest: see `engine.approvals.subject_digest`.
    :ivar question: `ApprovalQuestion` as JSON; ``policy`` the step's field ``approval``.
    :ivar requester: who triggered the execution, None where nobody did.
    :ivar state: ``waiting``, ``approved``, ``rejected``, ``expired`` or ``void`` (what it was about has changed).
    """

    __tablename__ = "sop_approval"
    __table_args__ = (
        Index("idx_sop_approval_execution", "execution_id", "step"),
        Index("idx_sop_approval_state", "state", "expires_at"),
        Index("idx_sop_approval_task_instance", "task_instance_id"),
    )

    id: Mapped[int] = mapped_column(ID, primary_key=True, autoincrement=True)
    execution_id: Mapped[int] = mapped_column(ForeignKey("sop_execution.id", ondelete="CASCADE"))
    step: Mapped[str] = mapped_column(String(ID_LENGTH))
    map_index: Mapped[int] = mapped_column(Integer, default=-1)
    task_instance_id: Mapped[str] = mapped_column(String(36))
    subject_digest: Mapped[str] = mapped_column(String(64))
    question: Mapped[dict[str, Any]] = mapped_column(JsonValue)
    policy: Mapped[dict[str, Any]] = mapped_column(JsonValue)
    requester: Mapped[str | None] = mapped_column(String(ID_LENGTH))
    state: Mapped[str] = mapped_column(String(20), default="waiting")
    asked_at: Mapped[datetime] = mapped_column(UtcDateTime, default=utc_now)
    expires_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    expired_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    ended_at: Mapped[datetime | None] = mapped_column(UtcDateTime)


class ApprovalAnswerRow(Base):
    """One person's answer to an approval; those that do not count are in the audit log alone.

    :ivar answered_by: the person's id in Airflow's auth manager; ``name`` is the user name.
    """

    __tablename__ = "sop_approval_answer"
    __table_args__ = (UniqueConstraint("approval_id", "answered_by"),)

    id: Mapped[int] = mapped_column(ID, primary_key=True, autoincrement=True)
    approval_id: Mapped[int] = mapped_column(ForeignKey("sop_approval.id", ondelete="CASCADE"))
    answered_by: Mapped[str] = mapped_column(String(ID_LENGTH))
    name: Mapped[str] = mapped_column(String(ID_LENGTH))
    answer: Mapped[str] = mapped_column(String(20))
    meaning: Mapped[str] = mapped_column(Text)
    comment: Mapped[str | None] = mapped_column(Text)
    subject_digest: Mapped[str] = mapped_column(String(64))
    answered_at: Mapped[datetime] = mapped_column(UtcDateTime, default=utc_now)


class ModeChangeRow(Base):
    """A change of the mode of a control's SOP."""

    __tablename__ = "sop_mode_change"
    __table_args__ = (Index("idx_sop_mode_change_sop", "sop", "id"),)

    id: Mapped[int] = mapped_column(ID, primary_key=True, autoincrement=True)
    sop: Mapped[str] = mapped_column(String(ID_LENGTH))
    control: Mapped[str | None] = mapped_column(String(ID_LENGTH))
    old_mode: Mapped[str] = mapped_column(String(20))
    new_mode: Mapped[str] = mapped_column(String(20))
    old_digest: Mapped[str | None] = mapped_column(String(64))
    new_digest: Mapped[str | None] = mapped_column(String(64))
    changed_by: Mapped[str] = mapped_column(String(ID_LENGTH))
    reason: Mapped[str | None] = mapped_column(Text)
    changed_at: Mapped[datetime] = mapped_column(UtcDateTime, default=utc_now)


class LeaseRow(Base):
    """Who does one of the engine's own jobs at the moment: several API servers run, one of them works."""

    __tablename__ = "sop_lease"

    name: Mapped[str] = mapped_column(String(80), primary_key=True)
    holder: Mapped[str] = mapped_column(String(120))
    expires_at: Mapped[datetime] = mapped_column(UtcDateTime)


class PositionRow(Base):
    """Up to when one of the engine's own jobs has told what happened: whoever does it next goes on from there."""

    __tablename__ = "sop_position"

    name: Mapped[str] = mapped_column(String(80), primary_key=True)
    at: Mapped[datetime] = mapped_column(UtcDateTime)
