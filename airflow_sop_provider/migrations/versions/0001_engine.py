"""The engine's tables.

Revision ID: 0001
Revises:

As they were then: a migration never asks the tables of today.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_JSON = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")
_TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Create all tables, those that others refer to first."""
    for create in (
        _sop_audit_chain,
        _sop_audit_digest,
        _sop_breaker,
        _sop_document,
        _sop_execution,
        _sop_lease,
        _sop_legal_hold,
        _sop_mode_change,
        _sop_position,
        _sop_submission,
        _sop_tool_call,
        _sop_tool_snapshot,
        _sop_alert,
        _sop_approval,
        _sop_attempt,
        _sop_audit_entry,
        _sop_audit_leaf,
        _sop_checkpoint,
        _sop_outbox,
        _sop_approval_answer,
        _sop_delivery,
    ):
        create()


def downgrade() -> None:
    """Drop them."""
    for table in (
        "sop_delivery",
        "sop_approval_answer",
        "sop_outbox",
        "sop_checkpoint",
        "sop_audit_leaf",
        "sop_audit_entry",
        "sop_attempt",
        "sop_approval",
        "sop_alert",
        "sop_tool_snapshot",
        "sop_tool_call",
        "sop_submission",
        "sop_mode_change",
        "sop_legal_hold",
        "sop_position",
        "sop_lease",
        "sop_execution",
        "sop_document",
        "sop_breaker",
        "sop_audit_digest",
        "sop_audit_chain",
    ):
        op.drop_table(table)


def _sop_audit_chain() -> None:
    op.create_table(
        "sop_audit_chain",
        sa.Column("id", _ID, autoincrement=True, nullable=False),
        sa.Column("name", sa.String(length=501), nullable=False),
        sa.Column("seq", sa.Integer(), nullable=False),
        sa.Column("head", sa.String(length=64), nullable=True),
        sa.Column("undigested", sa.Boolean(), nullable=False),
        sa.Column("pruned_seq", sa.Integer(), nullable=False),
        sa.Column("pruned_head", sa.String(length=64), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_sop_audit_chain"),
        sa.UniqueConstraint("name", name="uq_sop_audit_chain_name"),
    )
    op.create_index(
        "idx_sop_audit_chain_undigested",
        "sop_audit_chain",
        ["id"],
        unique=False,
        sqlite_where=sa.text("undigested"),
        postgresql_where=sa.text("undigested"),
    )


def _sop_audit_digest() -> None:
    op.create_table(
        "sop_audit_digest",
        sa.Column("number", _ID, autoincrement=False, nullable=False),
        sa.Column("created_at", _TIME, nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("hash", sa.String(length=64), nullable=False),
        sa.Column("signature", sa.String(length=128), nullable=False),
        sa.Column("key_id", sa.String(length=64), nullable=False),
        sa.Column("written_to", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("number", name="pk_sop_audit_digest"),
    )


def _sop_breaker() -> None:
    op.create_table(
        "sop_breaker",
        sa.Column("server", sa.String(length=250), nullable=False),
        sa.Column("state", sa.String(length=10), nullable=False),
        sa.Column("window", sa.Text(), nullable=False),
        sa.Column("opened_at", _TIME, nullable=True),
        sa.Column("probe_by", sa.String(length=120), nullable=True),
        sa.Column("updated_at", _TIME, nullable=False),
        sa.PrimaryKeyConstraint("server", name="pk_sop_breaker"),
    )


def _sop_document() -> None:
    op.create_table(
        "sop_document",
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("sop", sa.String(length=250), nullable=False),
        sa.Column("version", sa.String(length=250), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("first_seen_at", _TIME, nullable=False),
        sa.PrimaryKeyConstraint("digest", name="pk_sop_document"),
    )


def _sop_execution() -> None:
    op.create_table(
        "sop_execution",
        sa.Column("id", _ID, autoincrement=True, nullable=False),
        sa.Column("sop", sa.String(length=250), nullable=False),
        sa.Column("run_id", sa.String(length=250), nullable=False),
        sa.Column("version", sa.String(length=250), nullable=True),
        sa.Column("digest", sa.String(length=64), nullable=True),
        sa.Column("control", sa.String(length=250), nullable=True),
        sa.Column("control_type", sa.String(length=250), nullable=True),
        sa.Column("mode", sa.String(length=20), nullable=False),
        sa.Column("priority", sa.String(length=20), nullable=False),
        sa.Column("owner", sa.String(length=250), nullable=True),
        sa.Column("agent", sa.String(length=250), nullable=True),
        sa.Column("batch", sa.String(length=250), nullable=True),
        sa.Column("run_type", sa.String(length=50), nullable=False),
        sa.Column("requested_by", sa.String(length=250), nullable=True),
        sa.Column("inputs", _JSON, nullable=False),
        sa.Column("context", _JSON, nullable=False),
        sa.Column("status", sa.String(length=20), nullable=False),
        sa.Column("result", _JSON, nullable=True),
        sa.Column("expected_seconds", sa.Float(), nullable=True),
        sa.Column("flagged", sa.Boolean(), nullable=False),
        sa.Column("cancelled_by", sa.String(length=250), nullable=True),
        sa.Column("cancel_reason", sa.Text(), nullable=True),
        sa.Column("submitted_at", _TIME, nullable=False),
        sa.Column("run_after", _TIME, nullable=True),
        sa.Column("started_at", _TIME, nullable=True),
        sa.Column("ended_at", _TIME, nullable=True),
        sa.Column("updated_at", _TIME, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_sop_execution"),
        sa.UniqueConstraint("sop", "run_id", name="uq_sop_execution_sop_run_id"),
    )
    op.create_index("idx_sop_execution_batch_id", "sop_execution", ["batch", "id"], unique=False)
    op.create_index("idx_sop_execution_control_id", "sop_execution", ["control", "id"], unique=False)
    op.create_index("idx_sop_execution_control_type_ended", "sop_execution", ["control_type", "ended_at"], unique=False)
    op.create_index("idx_sop_execution_ended_at", "sop_execution", ["ended_at"], unique=False)
    op.create_index("idx_sop_execution_status_id", "sop_execution", ["status", "id"], unique=False)
    op.create_index("idx_sop_execution_submitted_id", "sop_execution", ["submitted_at", "id"], unique=False)


def _sop_lease() -> None:
    op.create_table(
        "sop_lease",
        sa.Column("name", sa.String(length=80), nullable=False),
        sa.Column("holder", sa.String(length=120), nullable=False),
        sa.Column("expires_at", _TIME, nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_sop_lease"),
    )


def _sop_position() -> None:
    op.create_table(
        "sop_position",
        sa.Column("name", sa.String(length=80), nullable=False),
        sa.Column("at", _TIME, nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_sop_position"),
    )


def _sop_legal_hold() -> None:
    op.create_table(
        "sop_legal_hold",
        sa.Column("id", _ID, autoincrement=True, nullable=False),
        sa.Column("sop", sa.String(length=250), nullable=True),
        sa.Column("run_id", sa.String(length=250), nullable=True),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("placed_by", sa.String(length=250), nullable=False),
        sa.Column("placed_at", _TIME, nullable=False),
        sa.Column("released_by", sa.String(length=250), nullable=True),
        sa.Column("released_at", _TIME, nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_sop_legal_hold"),
    )


def _sop_mode_change() -> None:
    op.create_table(
        "sop_mode_change",
        sa.Column("id", _ID, autoincrement=True, nullable=False),
        sa.Column("sop", sa.String(length=250), nullable=False),
        sa.Column("control", sa.String(length=250), nullable=True),
        sa.Column("old_mode", sa.String(length=20), nullable=False),
        sa.Column("new_mode", sa.String(length=20), nullable=False),
        sa.Column("old_digest", sa.String(length=64), nullable=True),
        sa.Column("new_digest", sa.String(length=64), nullable=True),
        sa.Column("changed_by", sa.String(length=250), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("changed_at", _TIME, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_sop_mode_change"),
    )
    op.create_index("idx_sop_mode_change_sop", "sop_mode_change", ["sop", "id"], unique=False)


def _sop_submission() -> None:
    op.create_table(
        "sop_submission",
        sa.Column("id", _ID, autoincrement=True, nullable=False),
        sa.Column("requested_by", sa.String(length=250), nullable=False),
        sa.Column("key", sa.String(length=250), nullable=False),
        sa.Column("request_digest", sa.String(length=64), nullable=False),
        sa.Column("sop", sa.String(length=250), nullable=False),
        sa.Column("run_id", sa.String(length=250), nullable=False),
        sa.Column("created_at", _TIME, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_sop_submission"),
        sa.UniqueConstraint("requested_by", "key", name="uq_sop_submission_requested_by_key"),
    )


def _sop_tool_call() -> None:
    op.create_table(
        "sop_tool_call",
        sa.Column("key", sa.String(length=64), nullable=False),
        sa.Column("sop", sa.String(length=250), nullable=False),
        sa.Column("run_id", sa.String(length=250), nullable=False),
        sa.Column("step", sa.String(length=250), nullable=False),
        sa.Column("map_index", sa.Integer(), nullable=False),
        sa.Column("server", sa.String(length=250), nullable=False),
        sa.Column("tool", sa.String(length=250), nullable=False),
        sa.Column("state", sa.String(length=10), nullable=False),
        sa.Column("result", sa.Text(), nullable=True),
        sa.Column("begun_at", _TIME, nullable=False),
        sa.Column("ended_at", _TIME, nullable=True),
        sa.PrimaryKeyConstraint("key", name="pk_sop_tool_call"),
    )
    op.create_index("idx_sop_tool_call_execution", "sop_tool_call", ["sop", "run_id"], unique=False)


def _sop_tool_snapshot() -> None:
    op.create_table(
        "sop_tool_snapshot",
        sa.Column("sop", sa.String(length=250), nullable=False),
        sa.Column("server", sa.String(length=250), nullable=False),
        sa.Column("tool", sa.String(length=250), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("definition", _JSON, nullable=False),
        sa.Column("validated_by", sa.String(length=250), nullable=True),
        sa.Column("validated_at", _TIME, nullable=False),
        sa.PrimaryKeyConstraint("sop", "server", "tool", name="pk_sop_tool_snapshot"),
    )


def _sop_alert() -> None:
    op.create_table(
        "sop_alert",
        sa.Column("id", _ID, autoincrement=True, nullable=False),
        sa.Column("rule", sa.String(length=80), nullable=False),
        sa.Column("subject", sa.String(length=520), nullable=False),
        sa.Column("execution_id", _ID, nullable=True),
        sa.Column("level", sa.String(length=10), nullable=False),
        sa.Column("message", sa.Text(), nullable=False),
        sa.Column("details", _JSON, nullable=False),
        sa.Column("raised_at", _TIME, nullable=False),
        sa.Column("acknowledged_by", sa.String(length=250), nullable=True),
        sa.Column("acknowledged_at", _TIME, nullable=True),
        sa.ForeignKeyConstraint(
            ["execution_id"], ["sop_execution.id"], name="fk_sop_alert_execution_id", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_sop_alert"),
        sa.UniqueConstraint("rule", "subject", name="uq_sop_alert_rule_subject"),
    )
    op.create_index("idx_sop_alert_raised_at", "sop_alert", ["raised_at"], unique=False)


def _sop_approval() -> None:
    op.create_table(
        "sop_approval",
        sa.Column("id", _ID, autoincrement=True, nullable=False),
        sa.Column("execution_id", _ID, nullable=False),
        sa.Column("step", sa.String(length=250), nullable=False),
        sa.Column("map_index", sa.Integer(), nullable=False),
        sa.Column("task_instance_id", sa.String(length=36), nullable=False),
        sa.Column("subject_digest", sa.String(length=64), nullable=False),
        sa.Column("question", _JSON, nullable=False),
        sa.Column("policy", _JSON, nullable=False),
        sa.Column("requester", sa.String(length=250), nullable=True),
        sa.Column("state", sa.String(length=20), nullable=False),
        sa.Column("asked_at", _TIME, nullable=False),
        sa.Column("expires_at", _TIME, nullable=True),
        sa.Column("expired_at", _TIME, nullable=True),
        sa.Column("ended_at", _TIME, nullable=True),
        sa.ForeignKeyConstraint(
            ["execution_id"], ["sop_execution.id"], name="fk_sop_approval_execution_id", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_sop_approval"),
    )
    op.create_index("idx_sop_approval_execution", "sop_approval", ["execution_id", "step"], unique=False)
    op.create_index("idx_sop_approval_state", "sop_approval", ["state", "expires_at"], unique=False)
    op.create_index("idx_sop_approval_task_instance", "sop_approval", ["task_instance_id"], unique=False)


def _sop_attempt() -> None:
    op.create_table(
        "sop_attempt",
        sa.Column("id", _ID, autoincrement=True, nullable=False),
        sa.Column("execution_id", _ID, nullable=False),
        sa.Column("step", sa.String(length=250), nullable=False),
        sa.Column("map_index", sa.Integer(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("task_instance_id", sa.String(length=36), nullable=False),
        sa.Column("kind", sa.String(length=20), nullable=False),
        sa.Column("state", sa.String(length=20), nullable=False),
        sa.Column("runtime", sa.String(length=20), nullable=True),
        sa.Column("container", sa.String(length=63), nullable=True),
        sa.Column("image", sa.Text(), nullable=True),
        sa.Column("pod_uid", sa.String(length=64), nullable=True),
        sa.Column("data_sources", _JSON, nullable=False),
        sa.Column("error_type", sa.String(length=20), nullable=True),
        sa.Column("error_code", sa.String(length=100), nullable=True),
        sa.Column("error_message", sa.Text(), nullable=True),
        sa.Column("evidence", _JSON, nullable=True),
        sa.Column("retry_delay_seconds", sa.Float(), nullable=True),
        sa.Column("retry_reason", sa.Text(), nullable=True),
        sa.Column("memory_bytes", sa.BigInteger(), nullable=True),
        sa.Column("cpu_millis", sa.Integer(), nullable=True),
        sa.Column("cpu_seconds", sa.Float(), nullable=True),
        sa.Column("wall_seconds", sa.Float(), nullable=True),
        sa.Column("peak_memory_bytes", sa.BigInteger(), nullable=True),
        sa.Column("network_received_bytes", sa.BigInteger(), nullable=True),
        sa.Column("network_sent_bytes", sa.BigInteger(), nullable=True),
        sa.Column("usage", _JSON, nullable=True),
        sa.Column("outputs_digest", sa.String(length=64), nullable=True),
        sa.Column("events_seen", sa.Integer(), nullable=False),
        sa.Column("heartbeat_at", _TIME, nullable=True),
        sa.Column("started_at", _TIME, nullable=False),
        sa.Column("ended_at", _TIME, nullable=True),
        sa.ForeignKeyConstraint(
            ["execution_id"], ["sop_execution.id"], name="fk_sop_attempt_execution_id", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_sop_attempt"),
        sa.UniqueConstraint("task_instance_id", "attempt", name="uq_sop_attempt_task_instance_id_attempt"),
    )
    op.create_index("idx_sop_attempt_container", "sop_attempt", ["container"], unique=False)
    op.create_index("idx_sop_attempt_ended_at", "sop_attempt", ["ended_at"], unique=False)
    op.create_index(
        "idx_sop_attempt_execution_step", "sop_attempt", ["execution_id", "step", "map_index", "attempt"], unique=False
    )
    op.create_index("idx_sop_attempt_pod_uid", "sop_attempt", ["pod_uid"], unique=False)
    op.create_index("idx_sop_attempt_state", "sop_attempt", ["state"], unique=False)


def _sop_audit_entry() -> None:
    op.create_table(
        "sop_audit_entry",
        sa.Column("chain_id", _ID, nullable=False),
        sa.Column("seq", sa.Integer(), nullable=False),
        sa.Column("time", sa.String(length=32), nullable=False),
        sa.Column("kind", sa.String(length=40), nullable=False),
        sa.Column("component", sa.String(length=80), nullable=False),
        sa.Column("level", sa.String(length=10), nullable=False),
        sa.Column("agent", sa.String(length=250), nullable=True),
        sa.Column("step", sa.String(length=250), nullable=True),
        sa.Column("map_index", sa.Integer(), nullable=True),
        sa.Column("attempt", sa.Integer(), nullable=True),
        sa.Column("message", sa.Text(), nullable=False),
        sa.Column("meta", sa.Text(), nullable=False),
        sa.Column("previous", sa.String(length=64), nullable=False),
        sa.Column("hash", sa.String(length=64), nullable=False),
        sa.ForeignKeyConstraint(
            ["chain_id"], ["sop_audit_chain.id"], name="fk_sop_audit_entry_chain_id", ondelete="RESTRICT"
        ),
        sa.PrimaryKeyConstraint("chain_id", "seq", name="pk_sop_audit_entry"),
    )
    op.create_index("idx_sop_audit_entry_agent_time", "sop_audit_entry", ["agent", "time"], unique=False)
    op.create_index("idx_sop_audit_entry_kind_time", "sop_audit_entry", ["kind", "time"], unique=False)
    op.create_index("idx_sop_audit_entry_time", "sop_audit_entry", ["time"], unique=False)


def _sop_audit_leaf() -> None:
    op.create_table(
        "sop_audit_leaf",
        sa.Column("number", _ID, nullable=False),
        sa.Column("chain_id", _ID, nullable=False),
        sa.Column("seq", sa.Integer(), nullable=False),
        sa.Column("head", sa.String(length=64), nullable=False),
        sa.ForeignKeyConstraint(
            ["chain_id"], ["sop_audit_chain.id"], name="fk_sop_audit_leaf_chain_id", ondelete="RESTRICT"
        ),
        sa.ForeignKeyConstraint(
            ["number"], ["sop_audit_digest.number"], name="fk_sop_audit_leaf_number", ondelete="RESTRICT"
        ),
        sa.PrimaryKeyConstraint("number", "chain_id", name="pk_sop_audit_leaf"),
    )
    op.create_index("idx_sop_audit_leaf_chain_seq", "sop_audit_leaf", ["chain_id", "seq"], unique=False)


def _sop_checkpoint() -> None:
    op.create_table(
        "sop_checkpoint",
        sa.Column("execution_id", _ID, nullable=False),
        sa.Column("step", sa.String(length=250), nullable=False),
        sa.Column("map_index", sa.Integer(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("data", sa.JSON(), nullable=False),
        sa.Column("updated_at", _TIME, nullable=False),
        sa.ForeignKeyConstraint(
            ["execution_id"], ["sop_execution.id"], name="fk_sop_checkpoint_execution_id", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("execution_id", "step", "map_index", name="pk_sop_checkpoint"),
    )


def _sop_outbox() -> None:
    op.create_table(
        "sop_outbox",
        sa.Column("id", _ID, autoincrement=True, nullable=False),
        sa.Column("kind", sa.String(length=40), nullable=False),
        sa.Column("dedupe_key", sa.String(length=600), nullable=False),
        sa.Column("execution_id", _ID, nullable=True),
        sa.Column("payload", _JSON, nullable=False),
        sa.Column("created_at", _TIME, nullable=False),
        sa.Column("spread_at", _TIME, nullable=True),
        sa.ForeignKeyConstraint(
            ["execution_id"], ["sop_execution.id"], name="fk_sop_outbox_execution_id", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_sop_outbox"),
        sa.UniqueConstraint("dedupe_key", name="uq_sop_outbox_dedupe_key"),
    )


def _sop_approval_answer() -> None:
    op.create_table(
        "sop_approval_answer",
        sa.Column("id", _ID, autoincrement=True, nullable=False),
        sa.Column("approval_id", _ID, nullable=False),
        sa.Column("answered_by", sa.String(length=250), nullable=False),
        sa.Column("name", sa.String(length=250), nullable=False),
        sa.Column("answer", sa.String(length=20), nullable=False),
        sa.Column("meaning", sa.Text(), nullable=False),
        sa.Column("comment", sa.Text(), nullable=True),
        sa.Column("subject_digest", sa.String(length=64), nullable=False),
        sa.Column("answered_at", _TIME, nullable=False),
        sa.ForeignKeyConstraint(
            ["approval_id"], ["sop_approval.id"], name="fk_sop_approval_answer_approval_id", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_sop_approval_answer"),
        sa.UniqueConstraint("approval_id", "answered_by", name="uq_sop_approval_answer_approval_id_answered_by"),
    )


def _sop_delivery() -> None:
    op.create_table(
        "sop_delivery",
        sa.Column("id", _ID, autoincrement=True, nullable=False),
        sa.Column("outbox_id", _ID, nullable=False),
        sa.Column("channel", sa.String(length=250), nullable=False),
        sa.Column("target", _JSON, nullable=False),
        sa.Column("state", sa.String(length=20), nullable=False),
        sa.Column("tries", sa.Integer(), nullable=False),
        sa.Column("next_at", _TIME, nullable=False),
        sa.Column("last_error", sa.Text(), nullable=True),
        sa.Column("delivered_at", _TIME, nullable=True),
        sa.ForeignKeyConstraint(["outbox_id"], ["sop_outbox.id"], name="fk_sop_delivery_outbox_id", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name="pk_sop_delivery"),
        sa.UniqueConstraint("outbox_id", "channel", name="uq_sop_delivery_outbox_id_channel"),
    )
    op.create_index("idx_sop_delivery_state_next", "sop_delivery", ["state", "next_at"], unique=False)
