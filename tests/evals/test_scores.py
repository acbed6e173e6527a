"""Scores of cases and shares over all of them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_sop_provider.engine.execution_state import ExecutionStatus
from airflow_sop_provider.evals.models import Case, Suite, Thresholds
from airflow_sop_provider.evals.page import percent
from airflow_sop_provider.evals.scores import CaseResult, ToolScore, score, summarise
from airflow_sop_provider.evals.trace import Trace

SUITE = Suite(suite="s", sop="s.yaml")
TRACE = Trace(
    status=ExecutionStatus.COMPLETED, states={},
    outputs={"d": {"choice": "yes"}, "r": {"n": 1}}, tools=("a.x", "a.x", "a.y")
)  # fmt: skip


def result(**expect: object) -> CaseResult:
    return score(Case.model_validate({"id": "c", "expect": expect}), TRACE, SUITE)


def test_a_case_succeeds_when_all_that_is_expected_is_there() -> None:
    found = result(outputs={"r.n": 1}, decisions={"d": "yes"})
    assert (found.success, found.completed, found.tools) == (True, True, None)


@pytest.mark.parametrize("expect", [{"outputs": {"r.n": 2}}, {"outputs": {"r.m": 1}}, {"decisions": {"d": "no"}}])
def test_one_expectation_that_is_not_met_is_no_success(expect: dict[str, object]) -> None:
    found = result(**expect)
    assert (found.success, found.completed) == (False, True)
    assert [check.ok for check in found.checks] == [True, False]


def test_an_execution_that_ends_otherwise_did_not_complete() -> None:
    found = result(status="FAILED", outputs={"r.n": 1})
    assert (found.success, found.completed) == (False, False)


@pytest.mark.parametrize(
    ("expected", "accuracy"),
    [(["a.x", "a.y"], 1.0), (["a.x"], 0.5), (["a.x", "a.z"], 1 / 3), ([], 0.0)],
)
def test_tool_accuracy_is_the_share_of_both_in_either(expected: list[str], accuracy: float) -> None:
    tools = result(tools=expected).tools
    assert tools is not None
    assert tools.accuracy == pytest.approx(accuracy)


NAMES = st.lists(st.sampled_from("abc"))
RESULTS = st.lists(
    st.builds(
        lambda completed, success, tools: CaseResult(
            id="c", status="x", completed=completed, success=completed and success, checks=[], failures={}, seconds=0,
            tools=tools,
        ),
        st.booleans(), st.booleans(),
        st.none() | st.builds(ToolScore, expected=NAMES, called=NAMES),
    ),
    max_size=12,
)  # fmt: skip


@given(RESULTS)
def test_success_is_completion_times_success_of_what_completed(results: list[CaseResult]) -> None:
    summary = summarise(results, Thresholds())
    if not results:
        assert summary.task_success is None
        return
    assert summary.task_success is not None
    assert summary.execution_completion is not None
    assert summary.task_success == pytest.approx(summary.execution_completion * (summary.conditional_success or 0))
    assert summary.ok == (summary.task_success == 1)
    for share in (summary.task_success, summary.execution_completion, summary.tool_accuracy):
        assert share is None or 0 <= share <= 1


@given(RESULTS.filter(len), st.floats(0, 1))
def test_a_share_below_its_threshold_is_named(results: list[CaseResult], least: float) -> None:
    summary = summarise(results, Thresholds(task_success=None, execution_completion=least))
    assert summary.execution_completion is not None
    assert summary.below == (["execution_completion"] if summary.execution_completion < least else [])


def test_percent_never_rounds_up_to_all() -> None:
    assert [percent(share) for share in (1.0, 0.9999, 0.57, 0.0, None)] == ["100 %", "99.9 %", "57 %", "0 %", "none"]
