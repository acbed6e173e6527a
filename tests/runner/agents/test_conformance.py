"""A trace against its SOP: what agrees, and each way of not agreeing, explained at its step."""

from __future__ import annotations

import pytest

from airflow_sop_provider.contract.conformance import check_conformance, explain
from tests.runner.agents.test_whole_sop import STEPS

SOP = {
    "data_sources": {"vendors": {"server": "s", "tools": ["history", "freeze"]}},
    "steps": [*STEPS[:3], {**STEPS[3], "agent": {"instruction": "x", "tools": ["vendors.freeze"]}}],
}
DATA = {"event": "data.access", "sop_step": "history", "server": "s", "tool": "history"}
DONE = [{"event": "agent.result", "scope": "step", "sop_step": step["id"]} for step in STEPS]
DECIDED = {"event": "decision", "sop_step": "judge", "choice": "clear"}
RIGHT = [DATA, *DONE[:2], DECIDED, *DONE[2:], {"event": "agent.result", "scope": "sop", "sop_step": ""}]


def test_a_trace_that_agrees_has_no_deviation() -> None:
    assert check_conformance(SOP, RIGHT, alone=True) == ()
    assert explain(SOP, ()) == [f"{step['id']}: as the SOP says." for step in STEPS]


@pytest.mark.parametrize(
    ("trace", "step", "rule"),
    [
        (RIGHT[:-2], "report", "required-steps"),
        ([DONE[1], *RIGHT], "score", "order"),
        ([{**DATA, "tool": "freeze"}, *RIGHT], "history", "allowed-tools"),
        ([{**DATA, "server": "other"}, *RIGHT], "history", "allowed-tools"),
        ([*RIGHT[:3], {**DECIDED, "choice": "pay"}, *RIGHT[4:]], "judge", "decision-options"),
        ([*RIGHT, {**DATA, "sop_step": "pay"}], "pay", "known-steps"),
    ],
)
def test_each_deviation_is_named_at_its_step(trace, step, rule) -> None:
    found = check_conformance(SOP, trace, alone=True)
    assert [(one.step, one.rule) for one in found] == [(step, rule)]
    (line,) = [line for line in explain(SOP, found) if line.startswith(f"{step}: ")]
    assert found[0].text in line


def test_steps_of_an_earlier_attempt_count() -> None:
    assert check_conformance(SOP, RIGHT[2:], alone=True, done=["history"]) == ()


@pytest.mark.parametrize("name", ["data.access", "tool.call"])
def test_in_system_design_mode_the_ends_of_attempts_count(name: str) -> None:
    ends = [{"event": "attempt.end", "step": step["id"], "status": "succeeded"} for step in STEPS]
    data = {"event": name, "step": "history", "server": "s", "tool": "history"}
    assert check_conformance(SOP, [data, *ends], alone=False) == ()
    (found,) = check_conformance(SOP, [{**data, "tool": "freeze"}, *ends], alone=False)
    assert found.rule == "allowed-tools"
    skipped = [*ends[:3], {**ends[3], "status": "skipped"}]
    assert check_conformance(SOP, skipped, alone=False) == ()
    failed = [*ends[:3], {**ends[3], "status": "failed"}]
    assert [one.rule for one in check_conformance(SOP, failed, alone=False)] == ["required-steps"]


def test_a_run_is_compared_with_its_sop_and_says_so(whole, script) -> None:
    result = whole(STEPS, script(), inputs={"vendor": "V-1"})
    event = result.event("agent.conformance")
    assert event["conforms"]
    assert event["explanation"] == [f"{step['id']}: as the SOP says." for step in STEPS]


@pytest.mark.parametrize("policy", ["fail", "escalate"])
def test_a_deviation_fails_or_is_recorded_by_the_sops_policy(whole, script, monkeypatch, policy) -> None:
    from airflow_sop_provider.runner.agents.procedure import Procedure

    monkeypatch.setattr(Procedure, "refuse_call", lambda *_args, **_kw: None)  # an enforcement that is broken
    turns = [{"call": "vendors__freeze", "arguments": {"vendor": "V-1"}}]
    steps = [STEPS[0], {"id": "freeze", "tool": "vendors.freeze", "arguments": {"vendor": "V-1"}}]
    result = whole(steps, script(turns=turns, agent={"on_deviation": policy}), inputs={"vendor": "V-1"})
    assert not result.event("agent.conformance")["conforms"]
    if policy == "fail":
        assert result.failure == ("permanent", "agent-deviation", 65)
        assert "history: It called vendors-server.freeze" in result.verdict.error.message
    else:
        assert list(result.outputs["steps"]) == ["history", "freeze"]
