"""The engine's tables.

Revision ID: 0001
Revises:
"""

from __future__ import annotations

from alembic import op

from airflow_sop_provider.store.tables import metadata

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create all tables."""
    metadata.create_all(op.get_bind())


def downgrade() -> None:
    """Drop them."""
    metadata.drop_all(op.get_bind())
