"""The graph's plain facts; what holds for every graph is in the properties."""

from __future__ import annotations

import pytest

from airflow_sop_provider.sop import GraphError, Step, WorkflowGraph
from airflow_sop_provider.sop.graph import find_cycles

DIAMOND = WorkflowGraph({"d": ["b", "c"], "b": ["a"], "c": ["a", "a"], "a": []})


def test_facts_of_a_diamond():
    assert DIAMOND.step_ids == ("d", "b", "c", "a")
    assert DIAMOND.order == ("a", "b", "c", "d")
    assert (DIAMOND.starts, DIAMOND.ends) == (("a",), ("d",))
    assert DIAMOND.edges == (("b", "d"), ("c", "d"), ("a", "b"), ("a", "c"))
    assert (DIAMOND.prerequisites("c"), DIAMOND.dependents("a")) == (("a",), ("b", "c"))
    assert (DIAMOND.ancestors("d"), DIAMOND.descendants("a")) == ({"a", "b", "c"}, {"b", "c", "d"})


def test_the_rule_of_the_design():
    assert DIAMOND.ready({}) == ("a",)
    assert DIAMOND.ready({"a": "running"}) == ()
    assert DIAMOND.ready({"a": "succeeded"}) == ("b", "c")
    assert DIAMOND.triggered_by("a", {"a": "succeeded", "b": "running"}) == ("c",)
    states = {"a": "succeeded", "b": "skipped", "c": "succeeded"}
    assert DIAMOND.fate("d", states) == "run"
    assert DIAMOND.fate("d", {**states, "c": "skipped"}) == "skip"
    assert DIAMOND.fate("d", {"b": "failed"}) == "halt"
    assert DIAMOND.fate("d", {"b": "succeeded"}) == "wait"
    assert DIAMOND.settle({"a": "failed"}) == {"a": "failed", "b": "halted", "c": "halted", "d": "halted"}
    assert DIAMOND.settle({"a": "skipped"}) == {"a": "skipped", "b": "skipped", "c": "skipped", "d": "skipped"}
    assert DIAMOND.settle({"a": "running"})["d"] == "pending"


@pytest.mark.parametrize(
    ("needs", "reason"),
    [
        ({"a": ["a"]}, "a -> a"),
        ({"a": ["b"], "b": ["c"], "c": ["a"], "d": []}, "circle"),
        ({"a": ["x"]}, "no step"),
    ],
)
def test_what_is_no_graph(needs: dict[str, list[str]], reason: str):
    with pytest.raises(GraphError, match=reason):
        WorkflowGraph(needs)


def test_two_steps_of_one_id():
    step = Step.model_validate({"id": "a", "compute": {"x": "1"}})
    with pytest.raises(GraphError, match="one id"):
        WorkflowGraph.of([step, step])


def test_cycles_read_in_the_direction_of_work():
    assert find_cycles({"a": [], "b": ["a", "d"], "c": ["b"], "d": ["c"]}) == [("c", "d", "b")]
    assert find_cycles({"a": ["b"], "b": ["a"], "c": ["c"], "d": ["zzz"]}) == [("b", "a"), ("c",)]
