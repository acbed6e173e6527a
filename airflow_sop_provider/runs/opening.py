"""Opens the execution of a DAG run, whoever started that."""

from __future__ import annotations

from airflow.models.dagrun import DagRun
from airflow.utils.state import DagRunState
from sqlalchemy import select
from sqlalchemy.orm import Session

from airflow_sop_provider.engine.execution_state import ExecutionStatus
from airflow_sop_provider.runs.documents import document_of_run
from airflow_sop_provider.store.base import utc_now
from airflow_sop_provider.store.execution_tables import ExecutionRow
from airflow_sop_provider.store.executions import RunFacts, find_execution, open_execution, set_status

__all__ = ["facts_of_run", "find_run", "open_run", "opened"]


def opened(session: Session, dag_id: str, run_id: str) -> ExecutionRow | None:
    """Return the execution of a DAG run, opened if it is not yet; None if there is no such run of an SOP."""
    known = find_execution(session, dag_id, run_id)
    if known is not None:
        return known
    run = find_run(session, dag_id, run_id)
    return None if run is None else open_run(session, run)


def find_run(session: Session, dag_id: str, run_id: str) -> DagRun | None:
    """Return Airflow's run, None if it is gone."""
    query = select(DagRun).where(DagRun.dag_id == dag_id, DagRun.run_id == run_id)
    return session.scalars(query).one_or_none()


def open_run(session: Session, run: DagRun) -> ExecutionRow | None:
    """Open the execution of this DAG run; None if it is not one of an SOP."""
    document = document_of_run(session, run)
    if document is None:
        return None
    row = open_execution(session, facts_of_run(run), document.context, document.text)
    if run.state == DagRunState.RUNNING:
        set_status(session, row, ExecutionStatus.QUEUED, "Airflow schedules its steps")
    return row


def facts_of_run(run: DagRun) -> RunFacts:
    """Return what the execution has to know of its DAG run."""
    return RunFacts(
        sop=run.dag_id,
        run_id=run.run_id,
        run_type=str(run.run_type),
        conf=run.conf or {},
        requested_by=run.triggering_user_name,
        triggered_by=None if run.triggered_by is None else run.triggered_by.value,
        submitted_at=run.queued_at or run.start_date or utc_now(),
        run_after=run.run_after,
    )
