"""What an attempt reads of its run: outputs of earlier steps, the memory limit of an earlier try, states."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, NamedTuple

from airflow.models.taskinstance import TaskInstance
from airflow.models.xcom import XCOM_RETURN_KEY, XComModel
from sqlalchemy import select
from sqlalchemy.orm import Session

from airflow_sop_provider.contract import AttemptKey
from airflow_sop_provider.runs.tasks import by_task

__all__ = ["MEMORY_XCOM_KEY", "Upstream", "XComValues", "read_upstream"]

XComValues = dict[str, Any]
"""Step id -> outputs; of a mapped step the list of its instances' outputs, in map order."""

MEMORY_XCOM_KEY = "sop_memory_bytes"
"""XCom in which a retry after a resource failure remembers its larger memory limit."""


class Upstream(NamedTuple):
    """What was read.

    :param outputs: of the tasks that were asked for.
    :param memory_bytes: the memory limit that an earlier try of the attempt's task asked for.
    :param states: (task id, state) of the run's task instances, each pair once; empty unless asked for.
    """

    outputs: XComValues
    memory_bytes: int | None
    states: frozenset[tuple[str, str | None]]


def read_upstream(session: Session, key: AttemptKey, tasks: Collection[str], *, states: bool) -> Upstream:
    """Read the outputs of these tasks and, if ``states``, how every task of the run stands."""
    rows = session.execute(_outputs_query(key, {*tasks, key.step})).all()
    own = (key.step, key.map_index)
    memory = [v for t, m, k, v in rows if k == MEMORY_XCOM_KEY and (t, m) == own]
    # Raw, because the API stores what it is given: decoding again would turn the text "1" into 1.
    values = [(t, m, v) for t, m, k, v in rows if k == XCOM_RETURN_KEY and t in tasks]
    found = _states(session, key) if states else frozenset()
    return Upstream(by_task(values), int(memory[0]) if memory else None, found)


def _states(session: Session, key: AttemptKey) -> frozenset[tuple[str, str | None]]:
    query = select(TaskInstance.task_id, TaskInstance.state).where(
        TaskInstance.dag_id == key.sop, TaskInstance.run_id == key.run_id
    )
    return frozenset((task_id, state) for task_id, state in session.execute(query))


def _outputs_query(key: AttemptKey, task_ids: Collection[str]) -> Any:
    return (
        select(XComModel.task_id, XComModel.map_index, XComModel.key, XComModel.value)
        .where(
            XComModel.dag_id == key.sop,
            XComModel.run_id == key.run_id,
            XComModel.task_id.in_(task_ids),
            XComModel.key.in_((XCOM_RETURN_KEY, MEMORY_XCOM_KEY)),
        )
        .order_by(XComModel.task_id, XComModel.map_index)
    )
