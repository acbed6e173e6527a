"""The audit log: entries in one hash chain per execution, signed digests over all chains, legal holds."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import ForeignKey, Index, Integer, String, Text, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from airflow_sop_provider.store.base import ID, ID_LENGTH, Base, UtcDateTime, utc_now

__all__ = ["AuditChainRow", "AuditDigestRow", "AuditEntryRow", "AuditLeafRow", "LegalHoldRow"]

_DIGEST = 64


class AuditChainRow(Base):
    """One chain: of an execution (``sop/run_id``), or of what is none (``~...``).

    :ivar seq: number of its last entry, ``head`` that entry's hash.
    :ivar undigested: it has entries that no signed digest covers yet.
    :ivar pruned_seq: number of the last entry that retention has removed, ``pruned_head`` its hash; 0: none.
    """

    __tablename__ = "sop_audit_chain"
    __table_args__ = (
        UniqueConstraint("name"),
        Index(
            "idx_sop_audit_chain_undigested",
            "id",
            sqlite_where=text("undigested"),
            postgresql_where=text("undigested"),
        ),
    )

    id: Mapped[int] = mapped_column(ID, primary_key=True, autoincrement=True)
    name: Mapped[str] = mapped_column(String(2 * ID_LENGTH + 1))
    seq: Mapped[int] = mapped_column(Integer, default=0)
    head: Mapped[str | None] = mapped_column(String(_DIGEST))
    undigested: Mapped[bool] = mapped_column(default=True)
    pruned_seq: Mapped[int] = mapped_column(Integer, default=0)
    pruned_head: Mapped[str | None] = mapped_column(String(_DIGEST))


class AuditEntryRow(Base):
    """One entry; never changed, removed only by retention.

    :ivar meta: the entry's metadata in canonical JSON, byte for byte as it was hashed.
    :ivar time: as hashed: ISO 8601 in UTC with microseconds, which sorts as text.
    """

    __tablename__ = "sop_audit_entry"
    __table_args__ = (
        Index("idx_sop_audit_entry_time", "time"),
        Index("idx_sop_audit_entry_kind_time", "kind", "time"),
        Index("idx_sop_audit_entry_agent_time", "agent", "time"),
    )

    chain_id: Mapped[int] = mapped_column(ForeignKey("sop_audit_chain.id", ondelete="RESTRICT"), primary_key=True)
    seq: Mapped[int] = mapped_column(Integer, primary_key=True)
    time: Mapped[str] = mapped_column(String(32))
    kind: Mapped[str] = mapped_column(String(40))
    component: Mapped[str] = mapped_column(String(80))
    level: Mapped[str] = mapped_column(String(10))
    agent: Mapped[str | None] = mapped_column(String(ID_LENGTH))
    step: Mapped[str | None] = mapped_column(String(ID_LENGTH))
    map_index: Mapped[int | None] = mapped_column(Integer)
    attempt: Mapped[int | None] = mapped_column(Integer)
    message: Mapped[str] = mapped_column(Text)
    meta: Mapped[str] = mapped_column(Text)
    previous: Mapped[str] = mapped_column(String(_DIGEST))
    hash: Mapped[str] = mapped_column(String(_DIGEST))


class AuditDigestRow(Base):
    """A signed digest over the heads of all chains at one moment; each names its predecessor.

    :ivar body: canonical JSON, byte for byte as it was signed.
    :ivar written_to: second place where it was written, None until it was.
    """

    __tablename__ = "sop_audit_digest"

    number: Mapped[int] = mapped_column(ID, primary_key=True, autoincrement=False)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime, default=utc_now)
    body: Mapped[str] = mapped_column(Text)
    hash: Mapped[str] = mapped_column(String(_DIGEST))
    signature: Mapped[str] = mapped_column(String(128))
    key_id: Mapped[str] = mapped_column(String(_DIGEST))
    written_to: Mapped[str | None] = mapped_column(Text)


class AuditLeafRow(Base):
    """Where a chain stood when a digest was made of it: a leaf of that digest's tree."""

    __tablename__ = "sop_audit_leaf"
    __table_args__ = (Index("idx_sop_audit_leaf_chain_seq", "chain_id", "seq"),)

    number: Mapped[int] = mapped_column(ForeignKey("sop_audit_digest.number", ondelete="RESTRICT"), primary_key=True)
    chain_id: Mapped[int] = mapped_column(ForeignKey("sop_audit_chain.id", ondelete="RESTRICT"), primary_key=True)
    seq: Mapped[int] = mapped_column(Integer)
    head: Mapped[str] = mapped_column(String(_DIGEST))


class LegalHoldRow(Base):
    """While it is not released nothing of what it names is pruned.

    :ivar sop: SOP id, None for all.
    :ivar run_id: run id, None for all executions of the SOP.
    """

    __tablename__ = "sop_legal_hold"

    id: Mapped[int] = mapped_column(ID, primary_key=True, autoincrement=True)
    sop: Mapped[str | None] = mapped_column(String(ID_LENGTH))
    run_id: Mapped[str | None] = mapped_column(String(ID_LENGTH))
    reason: Mapped[str] = mapped_column(Text)
    placed_by: Mapped[str] = mapped_column(String(ID_LENGTH))
    placed_at: Mapped[datetime] = mapped_column(UtcDateTime, default=utc_now)
    released_by: Mapped[str | None] = mapped_column(String(ID_LENGTH))
    released_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
