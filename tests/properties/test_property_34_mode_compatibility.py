"""Feature: execution-engine, Property 34: Mode compatibility

An incompatible mode is rejected with every reason, each at its place; a compatible one is accepted.
"""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings

from airflow_sop_provider.sop import check_text
from tests.strategies import dump, sop_documents


def _reasons(document: dict[str, Any]) -> int:
    """Count what the design says one agent cannot carry out."""
    steps = document["steps"]
    dependents = [need for step in steps for need in set(step.get("needs", []))]
    count = sum(len(step.get("needs", [])) > 1 for step in steps)
    count += sum(dependents.count(step["id"]) > 1 for step in steps)
    count += sum(key in step for step in steps for key in ("when", "for_each", "approval", "command"))
    return count + bool(document.get("rollback"))


@settings(max_examples=200)
@given(sop_documents())
def test_agent_centric_is_accepted_only_if_compatible(document: dict[str, Any]) -> None:
    result = check_text(dump({**document, "mode": "agent_centric"}))
    found = [problem for problem in result.problems if problem.code == "incompatible-mode"]
    assert len(found) == _reasons(document)
    assert result.ok == (not found)
    for problem in found:
        word = problem.excerpt[problem.column - 1 :].split(":")[0]
        assert word in ("needs", "id", "when", "for_each", "approval", "command", "rollback")
        assert problem.suggestion


@given(sop_documents())
def test_system_design_is_always_compatible(document: dict[str, Any]) -> None:
    assert check_text(dump({**document, "mode": "system_design"})).unwrap().mode.valid
