"""All tables of the engine in one place, so that their metadata is complete wherever it is needed."""

from __future__ import annotations

from airflow_sop_provider.store.alert_tables import AlertRow, DeliveryRow, OutboxRow
from airflow_sop_provider.store.audit_tables import (
    AuditChainRow,
    AuditDigestRow,
    AuditEntryRow,
    AuditLeafRow,
    LegalHoldRow,
)
from airflow_sop_provider.store.base import Base
from airflow_sop_provider.store.control_tables import (
    ApprovalAnswerRow,
    ApprovalRow,
    LeaseRow,
    ModeChangeRow,
    PositionRow,
)
from airflow_sop_provider.store.execution_tables import (
    AttemptRow,
    CheckpointRow,
    DocumentRow,
    ExecutionRow,
    SubmissionRow,
)
from airflow_sop_provider.store.fleet_tables import BreakerRow, ToolCallRow, ToolSnapshotRow

__all__ = [
    "AlertRow",
    "ApprovalAnswerRow",
    "ApprovalRow",
    "AttemptRow",
    "AuditChainRow",
    "AuditDigestRow",
    "AuditEntryRow",
    "AuditLeafRow",
    "BreakerRow",
    "CheckpointRow",
    "DeliveryRow",
    "DocumentRow",
    "ExecutionRow",
    "LeaseRow",
    "LegalHoldRow",
    "ModeChangeRow",
    "OutboxRow",
    "PositionRow",
    "SubmissionRow",
    "ToolCallRow",
    "ToolSnapshotRow",
    "metadata",
]

metadata = Base.metadata
"""What `airflow db migrate` creates beside Airflow's own tables."""
