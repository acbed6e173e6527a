"""The document behind a DAG run, as Airflow keeps it with the DAG's version, and the context that follows from it.

Airflow stores the source of every version of a DAG; of ours that is the SOP itself (the Code tab shows it). A DAG that
a DAG file of somebody's own made has that file there instead: then the tasks say what they carry.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import NamedTuple
from uuid import UUID

from airflow.models.dag_version import DagVersion
from airflow.models.dagcode import DagCode
from airflow.models.dagrun import DagRun
from airflow.models.taskinstance import TaskInstance
from sqlalchemy import select
from sqlalchemy.orm import Session

from airflow_sop_provider.contract.payload import PAYLOAD_KEY, StepPayload
from airflow_sop_provider.engine.execution_context import ExecutionContext, context_of_payloads, context_of_sop
from airflow_sop_provider.sop.loader import check_text

__all__ = ["KnownDocument", "document_of_run", "document_of_sop"]

_REMEMBERED = 4096


class KnownDocument(NamedTuple):
    """What is known of an SOP: the context of its executions, and its text where that is at hand."""

    context: ExecutionContext
    text: str | None


_known: OrderedDict[UUID, KnownDocument] = OrderedDict()


def document_of_run(session: Session, run: DagRun) -> KnownDocument | None:
    """Return the SOP that a DAG run carries out, None if it is none of ours."""
    version = _version(session, run)
    if version is not None and version in _known:
        return _known[version]
    found = _from_code(session, run.dag_id, version) or _from_tasks(session, run)
    if found is not None and version is not None and found.context.complete:
        _known[version] = found
        if len(_known) > _REMEMBERED:
            _known.popitem(last=False)
    return found


def document_of_sop(session: Session, sop: str) -> KnownDocument | None:
    """Return the newest document of an SOP, None where Airflow has none."""
    newest = select(DagVersion.id).where(DagVersion.dag_id == sop).order_by(DagVersion.version_number.desc()).limit(1)
    version = session.scalar(newest)
    if version is None:
        return None
    return _known.get(version) or _from_code(session, sop, version)


def _version(session: Session, run: DagRun) -> UUID | None:
    """Return the version that the run's tasks have: a run without a versioned bundle follows the newest."""
    of_tasks = select(TaskInstance.dag_version_id).where(
        TaskInstance.dag_id == run.dag_id,
        TaskInstance.run_id == run.run_id,
        TaskInstance.dag_version_id.is_not(None),
    )
    newest = select(DagVersion.id).where(DagVersion.dag_id == run.dag_id).order_by(DagVersion.version_number.desc())
    return session.scalar(of_tasks.limit(1)) or run.created_dag_version_id or session.scalar(newest.limit(1))


def _from_code(session: Session, dag_id: str, version: UUID | None) -> KnownDocument | None:
    text = session.scalar(select(DagCode.source_code).where(DagCode.dag_version_id == version))
    if text is None:
        return None
    loaded = check_text(text, f"{dag_id}.yaml").loaded
    if loaded is None or loaded.sop.sop != dag_id:
        return None
    return KnownDocument(context_of_sop(loaded), text)


def _from_tasks(session: Session, run: DagRun) -> KnownDocument | None:
    query = select(TaskInstance.task_id, TaskInstance.executor_config).where(
        TaskInstance.dag_id == run.dag_id, TaskInstance.run_id == run.run_id, TaskInstance.map_index <= 0
    )
    payloads = {
        task: StepPayload.model_validate(config[PAYLOAD_KEY])
        for task, config in session.execute(query)
        if isinstance(config, dict) and PAYLOAD_KEY in config
    }
    if not payloads:
        return None
    return KnownDocument(context_of_payloads(run.dag_id, payloads.values(), _needs(session, run, set(payloads))), None)


def _needs(session: Session, run: DagRun, steps: set[str]) -> dict[str, list[str]]:
    """Return the prerequisites of each step, with the tasks that list items passed through."""
    from airflow.models.dagbag import DBDagBag

    dag = DBDagBag(load_op_links=False).get_dag_for_run(run, session=session)
    if dag is None:
        return {}
    tasks = dag.task_dict
    needs: dict[str, list[str]] = {}
    for step in steps & tasks.keys():
        direct = tasks[step].upstream_task_ids
        through = {up for task in direct - steps if task in tasks for up in tasks[task].upstream_task_ids}
        needs[step] = sorted((direct | through) & steps)
    return needs
