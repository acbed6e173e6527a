"""Graphs and executions of them as Airflow would report them, for the properties."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from airflow_sop_provider.engine.execution_state import TaskState
from airflow_sop_provider.sop.graph import WorkflowGraph


@st.composite
def graphs(draw: Any, max_steps: int = 8) -> WorkflowGraph:
    """A workflow graph of 1 to `max_steps` steps, edges from earlier to later ones."""
    count = draw(st.integers(1, max_steps))
    names = [f"s{number}" for number in range(count)]
    needs = {
        name: draw(st.lists(st.sampled_from(names[:at]), unique=True) if at else st.just([]))
        for at, name in enumerate(names)
    }
    shuffled = draw(st.permutations(names))
    return WorkflowGraph({name: needs[name] for name in shuffled})


@st.composite
def executions(draw: Any) -> tuple[WorkflowGraph, list[TaskState]]:
    """A graph and the final states of its tasks, reached by letting every step that may run succeed, fail or skip."""
    graph = draw(graphs())
    states: dict[str, str] = {}
    for step in graph.order:
        before = {states[need] for need in graph.prerequisites(step)}
        if before & {"failed", "upstream_failed"}:
            states[step] = "upstream_failed"
        elif before and "success" not in before:
            states[step] = "skipped"
        else:
            states[step] = draw(st.sampled_from(["success", "success", "failed", "skipped"]))
    return graph, [TaskState(step, state) for step, state in states.items()]
