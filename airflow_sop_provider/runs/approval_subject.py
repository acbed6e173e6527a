"""What an approval is about, as it is at this moment: the run's inputs, the results before the step, the document."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from airflow.models.dagrun import DagRun
from sqlalchemy import select
from sqlalchemy.orm import Session

from airflow_sop_provider.contract.attempt import AttemptKey
from airflow_sop_provider.contract.payload import StepPayload
from airflow_sop_provider.engine.approvals import subject_digest
from airflow_sop_provider.engine.assignments import item_of, resolve_inputs
from airflow_sop_provider.runs.tasks import outputs_of_run

__all__ = ["Subject", "subject_of"]


@dataclass(frozen=True, kw_only=True)
class Subject:
    """What an approval is about.

    :param digest: changes with anything of it.
    :param outputs: of the steps before it that gave some.
    :param item: of a ``for_each``.
    :param requester: who triggered the execution, None where nobody did.
    """

    digest: str
    inputs: Mapping[str, Any]
    outputs: Mapping[str, Any]
    item: object
    requester: str | None


def subject_of(session: Session, key: AttemptKey, payload: StepPayload) -> Subject:
    """Return what the approval of a task is about now.

    :raises InputsError: the run's conf does not fit the SOP's inputs.
    :raises LookupError: the run or the item of a ``for_each`` is gone.
    """
    query = select(DagRun.conf, DagRun.triggering_user_name)
    run = session.execute(query.where(DagRun.dag_id == key.sop, DagRun.run_id == key.run_id)).one_or_none()
    if run is None:
        raise LookupError(f"Airflow has no run {key.run_id} of {key.sop}")
    tasks = {*payload.reads, *([payload.items_task] if payload.items_task else [])}
    found = outputs_of_run(session, key.sop, key.run_id, tasks)
    inputs = resolve_inputs(payload.sop, payload.inputs, run.conf or {})
    outputs = {step: found[step] for step in payload.reads if step in found}
    item = item_of(payload, key.map_index, found)
    digest = subject_digest(document=payload.digest, step=key.step, inputs=inputs, outputs=outputs, item=item)
    return Subject(digest=digest, inputs=inputs, outputs=outputs, item=item, requester=run.triggering_user_name)
