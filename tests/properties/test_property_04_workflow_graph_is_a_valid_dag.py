"""Feature: execution-engine, Property 4: Workflow graph is a valid DAG

Every step is reachable from a start, there is no cycle, every dependency names a step; and a text
whose steps do not form such a graph is refused with the cycle shown.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from hypothesis import assume, given
from hypothesis import strategies as st

from airflow_sop_provider.sop import check_text
from tests.strategies import dump, needs_maps, sop_texts


@given(sop_texts())
def test_the_graph_of_a_valid_sop(text: str) -> None:
    loaded = check_text(text).unwrap()
    graph, ids = loaded.graph, {step.id for step in loaded.sop.steps}
    assert set(graph.step_ids) == ids
    assert {end for edge in graph.edges for end in edge} <= ids
    position = {step: index for index, step in enumerate(graph.order)}
    assert len(position) == len(ids)
    assert all(position[before] < position[after] for before, after in graph.edges)
    reached = set(graph.starts).union(*(graph.descendants(start) for start in graph.starts))
    assert reached == ids


def _text(needs: dict[str, list[str]]) -> str:
    steps: list[dict[str, Any]] = [{"id": step, "needs": ids, "compute": {"x": "1"}} for step, ids in needs.items()]
    return dump({"sop": "a", "version": "v1", "title": "t", "mode": "system_design", "steps": steps})


@given(needs_maps(min_size=2), st.data())
def test_an_edge_back_is_refused_and_the_cycle_shown(needs: dict[str, list[str]], data: st.DataObject) -> None:
    graph = check_text(_text(needs)).unwrap().graph
    first = data.draw(st.sampled_from(sorted(needs)))
    behind = sorted(graph.descendants(first))
    assume(behind)
    last = data.draw(st.sampled_from(behind))
    needs[first] = [*needs[first], last]
    problems = check_text(_text(needs)).problems
    shown = next(problem.message for problem in problems if problem.code == "cycle").split(": ")[1].split(" -> ")
    assert shown[0] == shown[-1]
    assert all(before in needs[after] for before, after in pairwise(shown))


@given(needs_maps(), st.data())
def test_a_dependency_that_names_no_step_is_refused(needs: dict[str, list[str]], data: st.DataObject) -> None:
    step = data.draw(st.sampled_from(sorted(needs)))
    needs[step] = [*needs[step], "nowhere"]
    assert "unknown-step" in {problem.code for problem in check_text(_text(needs)).problems}
