"""What Airflow knows of an execution's tasks: their states, their outputs, and tries that nobody of ours carried."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from airflow.models.taskinstance import TaskInstance
from airflow.models.taskinstancehistory import TaskInstanceHistory
from airflow.models.xcom import XCOM_RETURN_KEY, XComModel
from sqlalchemy import select
from sqlalchemy.orm import Session

from airflow_sop_provider.contract.attempt import AttemptKey
from airflow_sop_provider.engine.execution_state import TaskState

__all__ = ["Try", "by_task", "outputs_of_run", "task_states", "tries_of_run"]


class Try(NamedTuple):
    """One try of a task as Airflow remembers it."""

    key: AttemptKey
    state: str | None
    started_at: datetime | None
    ended_at: datetime | None


def task_states(session: Session, dag_id: str, run_id: str) -> list[TaskState]:
    """Return the state of every task instance of a run."""
    query = select(TaskInstance.task_id, TaskInstance.state, TaskInstance.map_index).where(
        TaskInstance.dag_id == dag_id, TaskInstance.run_id == run_id
    )
    return [TaskState(task, state, map_index) for task, state, map_index in session.execute(query)]


def outputs_of_run(session: Session, dag_id: str, run_id: str, tasks: Collection[str]) -> dict[str, Any]:
    """Return task id -> outputs; of a mapped task a list in map order. Tasks without outputs are left out."""
    query = (
        select(XComModel.task_id, XComModel.map_index, XComModel.value)
        .where(
            XComModel.dag_id == dag_id,
            XComModel.run_id == run_id,
            XComModel.task_id.in_(tasks),
            XComModel.key == XCOM_RETURN_KEY,
        )
        .order_by(XComModel.task_id, XComModel.map_index)
    )
    return by_task(session.execute(query).all())


def by_task(rows: Iterable[Any]) -> dict[str, Any]:
    """Gather (task id, map index, value) rows, in order of both, into one value for each task."""
    values: dict[str, Any] = {}
    for task, map_index, value in rows:
        if map_index < 0:
            values[task] = value
        else:
            values.setdefault(task, []).append(value)
    return values


def tries_of_run(session: Session, dag_id: str, run_id: str) -> list[Try]:
    """Return every try of every task that began, the oldest first."""
    found: list[Try] = []
    for model, key in ((TaskInstanceHistory, TaskInstanceHistory.task_instance_id), (TaskInstance, TaskInstance.id)):
        columns: Sequence[Any] = (
            key, model.task_id, model.map_index, model.try_number, model.state, model.start_date, model.end_date,
        )  # fmt: skip
        query = select(*columns).where(model.dag_id == dag_id, model.run_id == run_id, model.start_date.is_not(None))
        found += [_try(dag_id, run_id, *row) for row in session.execute(query)]
    return sorted(found, key=lambda one: (one.started_at is None, one.started_at))


def _try(
    dag_id: str, run_id: str, uid: Any, task: str, map_index: int, number: int, state: str | None,
    started_at: datetime | None, ended_at: datetime | None,
) -> Try:  # fmt: skip
    key = AttemptKey(
        sop=dag_id, run_id=run_id, step=task, map_index=map_index, attempt=max(1, number), task_instance_id=str(uid)
    )
    return Try(key, state, started_at, ended_at)
