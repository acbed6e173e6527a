"""Gathers everything of one execution for its export: enough to verify it where nothing of ours is."""

from __future__ import annotations

import json
import platform
from collections.abc import Iterable, Sequence
from importlib.metadata import distributions
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from airflow_sop_provider.audit.archive import ExecutionExport, Proof
from airflow_sop_provider.audit.entries import Entry
from airflow_sop_provider.store.audit_digests import proof_of
from airflow_sop_provider.store.audit_log import chain_entries
from airflow_sop_provider.store.execution_tables import AttemptRow, DocumentRow, ExecutionRow
from airflow_sop_provider.store.fleet_tables import ToolSnapshotRow

__all__ = ["UnknownExecutionError", "export_of"]

_ATTEMPT = (
    "step", "map_index", "attempt", "state", "runtime", "container", "image", "error_type", "error_code",
    "error_message", "cpu_seconds", "wall_seconds", "peak_memory_bytes", "outputs_digest",
)  # fmt: skip
_RUNNER = ("runner", "python", "packages")


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
    found, entries = proof_of(session, row.name), chain_entries(session, row.name)
    return ExecutionExport(
        execution=row.name,
        status=row.status,
        inputs=row.inputs,
        outputs=(row.result or {}).get("outputs"),
        document=None if document is None else document.text,
        document_digest=row.digest,
        entries=entries,
        attempts=[{name: getattr(attempt, name) for name in _ATTEMPT} for attempt in attempts],
        versions=_versions(session, row, entries),
        proof=None if found is None else Proof(signed=found[0], leaf=found[1], path=found[2], public_key=public_key),
    )


def _versions(session: Session, row: ExecutionRow, entries: Sequence[Entry]) -> dict[str, Any]:
    """Return what carried an execution out, as its log says: runners with their packages, models, tools.

    A tool's version is the digest of its definition that the SOP was validated with: the gateway refuses another.
    """
    runners = [
        {name: entry.metadata[name] for name in _RUNNER if name in entry.metadata}
        for entry in entries
        if entry.kind == "action" and "runner" in entry.metadata
    ]
    distinct = {json.dumps(runner, sort_keys=True): runner for runner in runners}
    models = {str(entry.metadata["model"]) for entry in entries if entry.metadata.get("model")}
    agent = row.context.get("agent")
    if isinstance(agent, dict) and agent.get("model"):
        models.add(str(agent["model"]))
    return {
        "runners": [distinct[key] for key in sorted(distinct)],
        "models": sorted(models),
        "tools": _tools(session, row.sop, entries),
        "exported_by": {
            "python": platform.python_version(),
            **{found.name: found.version for found in distributions() if found.name},
        },
    }


def _tools(session: Session, sop: str, entries: Iterable[Entry]) -> dict[str, Any]:
    asked = {
        (str(entry.metadata["server"]), str(entry.metadata["tool"]))
        for entry in entries
        if entry.kind in ("data.access", "tool.call") and entry.metadata.get("server") and entry.metadata.get("tool")
    }
    found: dict[str, Any] = {}
    for server, tool in sorted(asked):
        row = session.get(ToolSnapshotRow, (sop, server, tool))
        definition = None if row is None else {"sha256": row.digest, "validated_at": row.validated_at.isoformat()}
        found[f"{server}.{tool}"] = definition
    return found
