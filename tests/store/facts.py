"""Facts of an execution, as tests of the tables need them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from airflow_sop_provider.audit.entries import Entry, chain_start, hash_of
from airflow_sop_provider.contract.attempt import AttemptKey
from airflow_sop_provider.engine.execution_context import ExecutionContext, context_of_sop
from airflow_sop_provider.sop import load_sop
from airflow_sop_provider.store.executions import RunFacts
from airflow_sop_provider.store.tables import AuditChainRow, AuditEntryRow

SOPS = Path(__file__).parents[2] / "sops"
SUBMITTED = datetime(2026, 11, 25, 8, 0, tzinfo=UTC)


def context_of(name: str = "software-licence-review") -> ExecutionContext:
    return context_of_sop(load_sop(SOPS / f"{name}.yaml"))


def run_facts(sop: str = "software-licence-review", run_id: str = "manual__1", **changes: Any) -> RunFacts:
    values: dict[str, Any] = {"run_type": "manual", "submitted_at": SUBMITTED, "requested_by": "ada"}
    return RunFacts(sop=sop, run_id=run_id, **{**values, **changes})


def attempt_key(
    step: str = "inventory", attempt: int = 1, run_id: str = "manual__1", map_index: int = -1
) -> AttemptKey:
    return AttemptKey(
        sop="software-licence-review", run_id=run_id, step=step, map_index=map_index, attempt=attempt,
        task_instance_id=f"ti-{run_id}-{step}-{map_index}-{attempt}",
    )  # fmt: skip


def entries_of(session: Session, chain: str) -> list[Entry]:
    """Read a chain as an auditor would, from the rows alone, and check that it is one."""
    import json

    rows: Sequence[AuditEntryRow] = session.scalars(
        select(AuditEntryRow)
        .join(AuditChainRow, AuditChainRow.id == AuditEntryRow.chain_id)
        .where(AuditChainRow.name == chain)
        .order_by(AuditEntryRow.seq)
    ).all()
    entries = [
        Entry.from_dict(
            {
                "execution": chain, "metadata": json.loads(row.meta),
                **{name: getattr(row, name) for name in (
                    "seq", "time", "kind", "component", "level", "agent", "step", "map_index", "attempt", "message",
                    "previous", "hash",
                )},
            }
        )
        for row in rows
    ]  # fmt: skip
    previous = chain_start(chain)
    for number, entry in enumerate(entries, start=1):
        assert (entry.seq, entry.previous, entry.hash) == (number, previous, hash_of(entry.to_dict()))
        previous = entry.hash
    return entries
