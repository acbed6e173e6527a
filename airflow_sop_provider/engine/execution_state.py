"""What an execution is doing and what it came to, from the states of its task instances.

Airflow has no PARTIALLY_COMPLETED and speaks of task instances, mapped ones apart; people ask
about steps. This is the one translation: pure, so that terminal, API and tests say the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from airflow_sop_provider.sop.graph import StepState, WorkflowGraph

__all__ = ["ExecutionResult", "ExecutionState", "ExecutionStatus", "TaskState", "step_states"]


class ExecutionStatus(StrEnum):
    """Status of an execution (design, sections 2 and 8)."""

    SUBMITTED = "SUBMITTED"
    QUEUED = "QUEUED"
    RUNNING = "RUNNING"
    COMPLETED = "COMPLETED"
    PARTIALLY_COMPLETED = "PARTIALLY_COMPLETED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"

    @property
    def is_final(self) -> bool:
        """Whether nothing follows any more."""
        return self in _FINAL


_FINAL = frozenset(
    {
        ExecutionStatus.COMPLETED,
        ExecutionStatus.PARTIALLY_COMPLETED,
        ExecutionStatus.FAILED,
        ExecutionStatus.CANCELLED,
    }
)


@dataclass(frozen=True)
class TaskState:
    """One task instance, as far as it matters here.

    :param state: Airflow's task instance state; None before it is scheduled.
    """

    task_id: str
    state: str | None
    map_index: int = -1


_STATE_OF: dict[str, StepState] = {
    "success": "succeeded",
    "failed": "failed",
    "upstream_failed": "halted",
    "skipped": "skipped",
    "removed": "skipped",
    "running": "running",
    "restarting": "running",
    "up_for_retry": "running",  # an attempt failed; the step has not
    "up_for_reschedule": "running",
    "deferred": "running",
    "awaiting_input": "running",
}
_OVER = frozenset({"succeeded", "failed", "halted", "skipped"})


def step_states(steps: Iterable[str], tasks: Iterable[TaskState]) -> dict[str, StepState]:
    """Return the state of each step; a mapped step's instances count together.

    It has failed if one of them has and none goes on; it has succeeded if all are over and one succeeded.
    Tasks that are no step (lists of items, rollbacks) are left out.
    """
    found: dict[str, list[StepState]] = {step: [] for step in steps}
    for task in tasks:
        if task.task_id in found:
            found[task.task_id].append(_STATE_OF.get(task.state or "", "pending"))
    return {step: _together(states) for step, states in found.items()}


def _together(states: list[StepState]) -> StepState:
    kinds = set(states)
    if not kinds:
        return "pending"
    if "running" in kinds or ("pending" in kinds and kinds & _OVER):
        return "running"
    for state in ("pending", "failed", "halted", "succeeded"):
        if state in kinds:
            return state
    return "skipped"


@dataclass(frozen=True)
class ExecutionState:
    """Where an execution stands: every step is in exactly one of the groups.

    :param dependencies: step -> its direct prerequisites.
    """

    states: Mapping[str, StepState]
    dependencies: Mapping[str, tuple[str, ...]]

    @classmethod
    def of(cls, graph: WorkflowGraph, tasks: Iterable[TaskState]) -> ExecutionState:
        """Return the state of an execution of the SOP with this graph."""
        dependencies = {step: graph.prerequisites(step) for step in graph.step_ids}
        return cls(step_states(graph.step_ids, tasks), dependencies)

    def _in(self, *states: StepState) -> tuple[str, ...]:
        return tuple(step for step, state in self.states.items() if state in states)

    @property
    def completed(self) -> tuple[str, ...]:
        """Steps that are over, whatever they came to."""
        return self._in("succeeded", "failed", "halted", "skipped")

    @property
    def running(self) -> tuple[str, ...]:
        """Steps under way, waiting for a retry included."""
        return self._in("running")

    @property
    def pending(self) -> tuple[str, ...]:
        """Steps that have not begun."""
        return self._in("pending")

    @property
    def progress(self) -> float:
        """Share of the steps that are over, 0 to 1."""
        return len(self.completed) / len(self.states) if self.states else 0.0


@dataclass(frozen=True)
class ExecutionResult:
    """What an execution came to.

    :param outputs: step -> outputs, of the steps that succeeded; of a ``for_each`` a list in map order.
    :param failed: steps that failed themselves.
    """

    status: ExecutionStatus
    outputs: Mapping[str, Any]
    failed: tuple[str, ...] = ()

    @classmethod
    def of(cls, graph: WorkflowGraph, tasks: Iterable[TaskState], outputs: Mapping[str, Any]) -> ExecutionResult:
        """Aggregate an execution: COMPLETED with all outputs, or how far it came.

        A failure is PARTIALLY_COMPLETED if an end step succeeded all the same, else FAILED (design, section 8).
        """
        states = ExecutionState.of(graph, tasks).states
        kept = {step: outputs[step] for step, state in states.items() if state == "succeeded" and step in outputs}
        failed = tuple(step for step, state in states.items() if state == "failed")
        return cls(_status(graph, states), kept, failed)


def _status(graph: WorkflowGraph, states: Mapping[str, StepState]) -> ExecutionStatus:
    values = set(states.values())
    if not values <= _OVER:
        return ExecutionStatus.QUEUED if values == {"pending"} else ExecutionStatus.RUNNING
    if not values & {"failed", "halted"}:
        return ExecutionStatus.COMPLETED
    ended_well = any(states[step] == "succeeded" for step in graph.ends)
    return ExecutionStatus.PARTIALLY_COMPLETED if ended_well else ExecutionStatus.FAILED
