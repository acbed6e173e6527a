"""Where an execution stands at this moment: two look-ups by key, whatever else runs.

While it runs, Airflow's task instances are the truth; when it is over, what was stored at its end.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy.orm import Session

from airflow_sop_provider.engine.execution_state import ExecutionState, ExecutionStatus
from airflow_sop_provider.runs.tasks import task_states
from airflow_sop_provider.sop.graph import StepState, WorkflowGraph
from airflow_sop_provider.store.base import utc_now
from airflow_sop_provider.store.execution_tables import ExecutionRow

__all__ = ["Standing", "standing"]


@dataclass(frozen=True, kw_only=True)
class Standing:
    """Where an execution stands.

    :param progress: share of the steps that are over, 0 to 1.
    :param elapsed_seconds: since its first attempt began, until its end; None before.
    """

    status: ExecutionStatus
    progress: float
    elapsed_seconds: float | None
    steps: dict[str, StepState]
    dependencies: dict[str, tuple[str, ...]]

    @property
    def current_steps(self) -> list[str]:
        """Steps under way."""
        return [step for step, state in self.steps.items() if state == "running"]


def standing(session: Session, row: ExecutionRow) -> Standing:
    """Return where an execution stands now."""
    # straight from the stored context: validating all of it would cost more than the query
    graph = WorkflowGraph({step["id"]: step.get("needs", ()) for step in row.context.get("steps", ())})
    state = ExecutionState.of(graph, task_states(session, row.sop, row.run_id))
    status = ExecutionStatus(row.status)
    until = row.ended_at or utc_now()
    return Standing(
        status=status,
        progress=1.0 if status.is_final else state.progress,
        elapsed_seconds=None if row.started_at is None else max(0.0, (until - row.started_at).total_seconds()),
        steps=dict(state.states),
        dependencies=dict(state.dependencies),
    )
