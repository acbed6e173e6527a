"""Feature: execution-engine, Property 6: Dependent triggering

A completed step triggers every dependent whose prerequisites are now met, and no other.
"""

from __future__ import annotations

from hypothesis import assume, given
from hypothesis import strategies as st

from airflow_sop_provider.sop import StepState, WorkflowGraph
from tests.strategies import needs_maps, step_states


@given(needs_maps(min_size=2), st.data())
def test_completion_triggers_exactly_the_dependents_that_are_now_met(
    needs: dict[str, list[str]], data: st.DataObject
) -> None:
    graph = WorkflowGraph(needs)
    before: dict[str, StepState] = {step: data.draw(step_states) for step in needs}
    running = [step for step, state in before.items() if state == "running"]
    assume(running)
    done = data.draw(st.sampled_from(running))
    after: dict[str, StepState] = {**before, done: "succeeded"}
    wanted = {
        step
        for step, ids in needs.items()
        if done in ids and before[step] == "pending" and all(after[need] in ("succeeded", "skipped") for need in ids)
    }
    assert set(graph.triggered_by(done, after)) == wanted
    assert set(graph.ready(after)) == set(graph.ready(before)) | wanted


@given(needs_maps())
def test_when_everything_succeeds_everything_is_triggered(needs: dict[str, list[str]]) -> None:
    graph = WorkflowGraph(needs)
    states: dict[str, StepState] = {}
    queue = list(graph.starts)
    while queue:
        step = queue.pop()
        assert states.get(step) is None
        states[step] = "succeeded"
        queue += graph.triggered_by(step, states)
    assert set(states) == set(needs)
