"""Why something failed is looked for in everything it was raised from, also where that leads in a circle."""

from __future__ import annotations

from airflow_sop_provider.runner.agents.model_failures import causes, classify_model
from airflow_sop_provider.runner.failures import bad_data


def test_a_group_and_a_chain_are_told_in_order() -> None:
    first, second, third = ValueError("1"), KeyError("2"), OSError("3")
    second.__cause__ = third
    group = ExceptionGroup("g", [first, second])
    assert list(causes(group)) == [group, first, second, third]


def test_a_ring_ends() -> None:
    inner, outer = bad_data("x", "inner"), RuntimeError("outer")
    outer.__cause__, inner.__cause__ = inner, outer
    assert list(causes(outer)) == [outer, inner]
    assert classify_model(outer, "m") is inner
