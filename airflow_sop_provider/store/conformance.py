"""Whether an execution did what its SOP says: the audit log's own entries against the document that it carried out.

Looked at when an execution is closed, in both modes, by the engine and not by what carried it out. A departure is told
in the transaction that stores it; whether it also fails the execution is the SOP's to say.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from airflow_sop_provider.audit.entries import AuditFields
from airflow_sop_provider.contract.conformance import Deviation, check_conformance, explain
from airflow_sop_provider.sop.source import Source
from airflow_sop_provider.sop.yaml_nodes import parse, to_data
from airflow_sop_provider.store import outbox
from airflow_sop_provider.store.audit_tables import AuditChainRow, AuditEntryRow
from airflow_sop_provider.store.execution_tables import DocumentRow, ExecutionRow

__all__ = ["Conformance", "conformance_of", "tell_deviation"]

_KINDS = ("data.access", "tool.call", "decision", "agent.result", "attempt.end")
_REMEMBERED = 256


@dataclass(frozen=True)
class Conformance:
    """What the comparison came to.

    :param explanation: a line for each step.
    """

    deviations: tuple[Deviation, ...]
    explanation: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON, for the execution's result."""
        found = [{"step": one.step, "rule": one.rule, "text": one.text} for one in self.deviations]
        return {"conforms": not found, "deviations": found, "explanation": list(self.explanation)}

    def entry(self) -> AuditFields:
        """Return the audit entry of a departure."""
        return AuditFields(
            kind="conformance",
            component="engine",
            level="error",
            message=f"What was recorded departs from the SOP: {_short(self.deviations)}",
            metadata=self.to_dict(),
        )


def conformance_of(
    session: Session, row: ExecutionRow, *, complete: bool, skipped: Iterable[str] = ()
) -> Conformance | None:
    """Compare the entries of an execution with its document; None where the document is not at hand.

    :param complete: whether every step should be done; of an execution that failed or was cancelled some are not.
    :param skipped: steps that Airflow skipped, with or without an attempt.
    """
    text = session.scalar(select(DocumentRow.text).where(DocumentRow.digest == row.digest))
    sop = None if text is None else _document(text)
    if sop is None:
        return None
    alone = row.mode == "agent_centric"
    found = check_conformance(sop, _events(session, row.name), alone=alone, skipped=skipped)
    if not complete:
        found = tuple(one for one in found if one.rule != "required-steps")
    return Conformance(found, tuple(explain(sop, found)))


def tell_deviation(session: Session, row: ExecutionRow, found: Conformance) -> None:
    """Put a departure into the outbox, in the caller's transaction."""
    payload = {
        "execution": row.name,
        "sop": row.sop,
        "run_id": row.run_id,
        "control": row.control,
        "owner": row.owner,
        "step": found.deviations[0].step or None,
        "message": f"It departed from its SOP: {_short(found.deviations)}",
        "explanation": list(found.explanation),
    }
    key = f"deviation:{row.id}:{row.ended_at.isoformat() if row.ended_at else ''}"
    outbox.put(session, "deviation", key, payload, execution_id=row.id)


@lru_cache(maxsize=_REMEMBERED)
def _document(text: str) -> Mapping[str, Any] | None:
    root, _ = parse(Source(text, "<document>"))
    return None if root is None else dict(to_data(root))


def _events(session: Session, chain: str) -> Iterator[Mapping[str, Any]]:
    query = (
        select(AuditEntryRow.kind, AuditEntryRow.step, AuditEntryRow.meta)
        .join(AuditChainRow, AuditChainRow.id == AuditEntryRow.chain_id)
        .where(AuditChainRow.name == chain, AuditEntryRow.kind.in_(_KINDS))
        .order_by(AuditEntryRow.seq)
    )
    for kind, step, meta in session.execute(query):
        said: dict[str, Any] = json.loads(meta)
        yield {**said, "event": kind, "step": step, "status": said.get("state")}


def _short(deviations: Iterable[Deviation]) -> str:
    return "; ".join(f"{one.step or 'SOP'}: {one.text}" for one in deviations)[:1500]
