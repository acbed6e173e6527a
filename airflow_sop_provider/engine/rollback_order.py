"""What a rollback step waits for.

A rollback step waits until nothing can go wrong or still be running that it would disturb, and
then decides whether there is something to undo (`engine.rollback`). Later steps are undone before
earlier ones.

Waiting for the end steps alone is not enough: a step with several prerequisites is halted as soon
as one of them failed, while the others may still run. Waiting for every step would be right, and
unreadable in the graph; so a step is left out where the end of another step implies its own.
"""

from __future__ import annotations

from collections.abc import Sequence

from airflow_sop_provider.sop.graph import WorkflowGraph
from airflow_sop_provider.sop.models import RollbackStep

__all__ = ["rollback_needs"]


def rollback_needs(graph: WorkflowGraph, rollback: Sequence[RollbackStep]) -> dict[str, tuple[str, ...]]:
    """Return for each rollback step the steps and rollback steps it waits for."""
    last = tuple(step for step in graph.order if not _implied(graph, step))
    needs: dict[str, tuple[str, ...]] = {}
    for index, one in enumerate(rollback):
        before = [
            other.id
            for position, other in enumerate(rollback)
            if other.after in graph.descendants(one.after) or (other.after == one.after and position < index)
        ]
        needs[one.id] = (*dict.fromkeys((one.after, *last)), *before)
    return needs


def _implied(graph: WorkflowGraph, step: str) -> bool:
    """Whether a step is over whenever some dependent of it is: one that waits for nothing else."""
    return any(graph.prerequisites(dependent) == (step,) for dependent in graph.dependents(step))
