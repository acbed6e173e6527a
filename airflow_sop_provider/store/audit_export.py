"""Gathers everything of one execution for its export: enough to verify it where nothing of ours is."""

from __future__ import annotations

import platform
from importlib.metadata import distributions

from sqlalchemy import select
from sqlalchemy.orm import Session

from airflow_sop_provider.audit.archive import ExecutionExport, Proof
from airflow_sop_provider.store.audit_digests import proof_of
from airflow_sop_provider.store.audit_log import chain_entries
from airflow_sop_provider.store.execution_tables import AttemptRow, DocumentRow, ExecutionRow

__all__ = ["UnknownExecutionError", "export_of"]

_ATTEMPT = (
    "step", "map_index", "attempt", "state", "runtime", "container", "image", "error_type", "error_code",
    "error_message", "cpu_seconds", "wall_seconds", "peak_memory_bytes", "outputs_digest",
)  # fmt: skip


class UnknownExecutionError(LookupError):
    """There is no such execution."""


def export_of(session: Session, sop: str, run_id: str, public_key: bytes) -> ExecutionExport:
    """Return the parts of an execution's export.

    :param public_key: of the key that signs digests now.
    :raises UnknownExecutionError: there is none of that id.
    """
    row = session.scalars(
        select(ExecutionRow).where(ExecutionRow.sop == sop, ExecutionRow.run_id == run_id)
    ).one_or_none()
    if row is None:
        raise UnknownExecutionError(f"There is no execution {sop}/{run_id}.")
    document = session.get(DocumentRow, row.digest) if row.digest else None
    attempts = session.scalars(
        select(AttemptRow).where(AttemptRow.execution_id == row.id).order_by(AttemptRow.started_at, AttemptRow.id)
    ).all()
    found = proof_of(session, row.name)
    return ExecutionExport(
        execution=row.name,
        status=row.status,
        inputs=row.inputs,
        outputs=(row.result or {}).get("outputs"),
        document=None if document is None else document.text,
        document_digest=row.digest,
        entries=chain_entries(session, row.name),
        attempts=[{name: getattr(attempt, name) for name in _ATTEMPT} for attempt in attempts],
        versions=_versions(row),
        proof=None if found is None else Proof(signed=found[0], leaf=found[1], path=found[2], public_key=public_key),
    )


def _versions(row: ExecutionRow) -> dict[str, str]:
    """Return the versions of Python, the engine's packages and the agent's model."""
    agent = row.context.get("agent")
    model = agent.get("model") if isinstance(agent, dict) else None
    packages = {found.name: found.version for found in distributions() if found.name}
    return {**packages, "python": platform.python_version()} | ({"model": str(model)} if model else {})
