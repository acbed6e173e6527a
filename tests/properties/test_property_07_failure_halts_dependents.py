"""Feature: execution-engine, Property 7: Failure halts dependents

Direct and transitive dependents of a failed step never run, whatever else happens; independent
steps go on.
"""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from airflow_sop_provider.sop import StepState, WorkflowGraph
from tests.strategies import needs_maps


@given(needs_maps(min_size=2), st.data())
def test_dependents_of_a_failed_step_never_run_and_others_do(needs: dict[str, list[str]], data: st.DataObject) -> None:
    graph = WorkflowGraph(needs)
    failing = data.draw(st.sets(st.sampled_from(sorted(needs)), min_size=1, max_size=2))
    states: dict[str, StepState] = {}
    ran: set[str] = set()
    while ready := graph.ready(graph.settle(states)):
        step = data.draw(st.sampled_from(ready))
        ran.add(step)
        states[step] = "failed" if step in failing else "succeeded"
    behind = set().union(*(graph.descendants(step) for step in failing))
    assert ran == set(needs) - behind
    final = graph.settle(states)
    assert {step for step, state in final.items() if state == "halted"} == behind


@given(needs_maps(), st.data())
def test_a_failed_or_halted_prerequisite_halts_at_once(needs: dict[str, list[str]], data: st.DataObject) -> None:
    graph = WorkflowGraph(needs)
    failed = data.draw(st.sampled_from(sorted(needs)))
    settled = graph.settle({failed: "failed"})
    assert {step for step, state in settled.items() if state == "halted"} == graph.descendants(failed)
    assert all(graph.fate(step, settled) == "halt" for step in graph.descendants(failed))
