"""Feature: execution-engine, Property 5: Dependency-ordered scheduling

No step is scheduled before all its prerequisites: whatever ends in whatever order and way, a step
that `ready` offers has only prerequisites that are over, none failed.
"""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from airflow_sop_provider.sop import StepState, WorkflowGraph
from tests.strategies import needs_maps, step_states

OVER = {"succeeded", "skipped"}


@given(needs_maps(), st.data())
def test_ready_steps_have_all_prerequisites_over_in_any_state(needs: dict[str, list[str]], data: st.DataObject) -> None:
    graph = WorkflowGraph(needs)
    states: dict[str, StepState] = {step: data.draw(step_states) for step in needs}
    for step in graph.ready(states):
        assert {states[need] for need in needs[step]} <= OVER
        assert states[step] == "pending"


@given(needs_maps(), st.data())
def test_a_whole_run_starts_each_step_after_its_prerequisites(needs: dict[str, list[str]], data: st.DataObject) -> None:
    graph = WorkflowGraph(needs)
    states: dict[str, StepState] = {}
    started: list[str] = []
    while ready := graph.ready(states):
        assert not set(ready) & set(started)
        step = data.draw(st.sampled_from(ready))
        assert all(states.get(need) in OVER for need in needs[step])
        started.append(step)
        states[step] = data.draw(st.sampled_from(["succeeded", "failed", "skipped"]))
        states = graph.settle(states)
    assert all(state != "pending" for state in graph.settle(states).values())
    if all(states[step] == "succeeded" for step in started):
        assert set(started) == set(needs)
