"""Where an execution stands at this moment: one look-up by key, whatever else runs.

While it runs, Airflow's task instances are the truth; when it is over, what was stored at its end. It is asked several
hundred times a second, so nothing is read that the answer does not need: the context is a document of kilobytes, and
its graph is the same for every execution of one document.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from airflow.models.taskinstance import TaskInstance
from cachetools import LRUCache
from sqlalchemy import Connection, and_, bindparam, select

from airflow_sop_provider.engine.execution_state import ExecutionState, ExecutionStatus, TaskState
from airflow_sop_provider.sop.graph import StepState, WorkflowGraph
from airflow_sop_provider.store.base import utc_now
from airflow_sop_provider.store.execution_tables import ExecutionRow

__all__ = ["Standing", "standing"]

_execution, _task = ExecutionRow.__table__.c, TaskInstance.__table__.c
_STANDING = (
    select(
        _execution.id, _execution.status, _execution.digest, _execution.started_at, _execution.ended_at,
        _execution.flagged, _task.task_id, _task.state, _task.map_index,
    )
    .select_from(ExecutionRow.__table__)
    .outerjoin(TaskInstance.__table__, and_(_task.dag_id == _execution.sop, _task.run_id == _execution.run_id))
    .where(_execution.sop == bindparam("sop"), _execution.run_id == bindparam("run_id"))
)  # fmt: skip
_CONTEXT = select(_execution.context).where(_execution.id == bindparam("id"))
_graphs: LRUCache[str, WorkflowGraph] = LRUCache(maxsize=4096)
_lock = threading.Lock()


@dataclass(frozen=True, kw_only=True)
class Standing:
    """Where an execution stands.

    :param progress: share of the steps that are over, 0 to 1.
    :param elapsed_seconds: since its first attempt began, until its end; None before.
    :param flagged: it takes over twice as long as expected.
    """

    status: ExecutionStatus
    progress: float
    elapsed_seconds: float | None
    steps: dict[str, StepState]
    dependencies: dict[str, tuple[str, ...]]
    flagged: bool

    @property
    def current_steps(self) -> list[str]:
        """Steps under way."""
        return [step for step, state in self.steps.items() if state == "running"]


def standing(connection: Connection, sop: str, run_id: str) -> Standing | None:
    """Return where an execution stands now; None if nothing is known of it."""
    rows = connection.execute(_STANDING, {"sop": sop, "run_id": run_id}).all()
    if not rows:
        return None
    row = rows[0]
    state = ExecutionState.of(_graph(connection, row), _tasks(rows))
    status = ExecutionStatus(row.status)
    until = row.ended_at or utc_now()
    return Standing(
        status=status,
        progress=1.0 if status.is_final else state.progress,
        elapsed_seconds=None if row.started_at is None else max(0.0, (until - row.started_at).total_seconds()),
        steps=dict(state.states),
        dependencies=dict(state.dependencies),
        flagged=row.flagged,
    )


def _tasks(rows: Sequence[Any]) -> list[TaskState]:
    return [TaskState(row.task_id, row.state, row.map_index) for row in rows if row.task_id is not None]


def _graph(connection: Connection, row: Any) -> WorkflowGraph:
    """Return the graph of an execution's context, which its document's digest tells where there is one."""
    with _lock:
        known = _graphs.get(row.digest or "")
    if known is not None:
        return known
    context = connection.execute(_CONTEXT, {"id": row.id}).scalar_one()
    # straight from what is stored: validating all of it would cost more than the query
    graph = WorkflowGraph({step["id"]: step.get("needs", ()) for step in context.get("steps", ())})
    if row.digest is not None:
        with _lock:
            _graphs[row.digest] = graph
    return graph
