"""What is done stays done: another attempt goes on where the last one was ended, and repeats no call with an effect."""

from __future__ import annotations

import json
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from tests.runner.agents.conftest import SOURCES, fleet_of
from tests.runner.conftest import make_assignment

STEPS = [
    {"id": "history", "tool": "vendors.history", "arguments": {"vendor": "V-1"}},
    {"id": "freeze", "tool": "vendors.freeze", "arguments": {"vendor": "V-1"}},
    {"id": "report", "agent": {"instruction": "Write.", "tools": ["vendors.history"]}},
]
SOP = {"sop": "demo", "version": "1", "title": "Demo", "data_sources": SOURCES, "steps": STEPS}


def _assignment(agent: dict[str, Any]) -> Any:
    return make_assignment(SOP, kind="agent_centric", agent=agent, data_sources=SOURCES)


def _wait_for(path: Path, text: str) -> None:
    while not path.exists() or text not in path.read_text():
        time.sleep(0.02)


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_a_new_attempt_goes_on_after_the_last_step_that_is_done(program, script, calls, how) -> None:
    read = {"call": "vendors__history", "arguments": {"vendor": "V-1"}}
    freeze = {"call": "vendors__freeze", "arguments": {"vendor": "V-1"}}
    slow = script("slow", turns=[read, freeze, read, {"text": "x", "delay": 60}])
    process = program.start(_assignment(slow), fleet_of(program.folder))
    _wait_for(program.folder / "checkpoint.json", '"freeze":{"frozen"')
    while len(calls()) < 3:
        time.sleep(0.02)
    process.send_signal(how)
    ended = program.finish(process)
    assert ended.code == (-how if how == signal.SIGKILL else 143)
    if how == signal.SIGTERM:
        assert ended.failure == ("crash", "cancelled", 143)
    (program.folder / "verdict.json").unlink(missing_ok=True)

    result = program.run(_assignment(script("rest", answers={"report": "Frozen."})), fleet_of(program.folder))
    steps = result.outputs["steps"]
    assert (list(steps), steps["report"]) == (["history", "freeze", "report"], {"text": "Frozen."})
    assert [name for name, _ in calls()] == ["history", "freeze", "history"], "nothing was called again"
    assert [event["event"] for event in result.events].count("attempt.begin") == 2
    assert result.verdict.usage.model_calls >= 5, "what the first attempt spent counts"


def test_an_answered_call_of_the_step_that_was_cut_is_answered_from_the_journal(program, script, calls) -> None:
    read = {"call": "vendors__history", "arguments": {"vendor": "V-2"}}
    step = [{"id": "report", "agent": {"instruction": "Write.", "tools": ["vendors.history"]}}]
    sop = {**SOP, "steps": step}
    slow = script("slow", turns=[read, {"text": "x", "delay": 60}])
    work = make_assignment(sop, kind="agent_centric", agent=slow, data_sources=SOURCES)
    process = program.start(work, fleet_of(program.folder))
    _wait_for(program.folder / "checkpoint.json", '"state":"done"')
    process.kill()
    program.finish(process)
    again = script("again", turns=[read], answers={"report": "{{ steps.vendors__history.vendor }}"})
    work = make_assignment(sop, kind="agent_centric", agent=again, data_sources=SOURCES)
    result = program.run(work, fleet_of(program.folder))
    assert result.outputs["steps"] == {"report": {"text": "V-2"}}
    assert calls() == [["history", {"vendor": "V-2"}]]
    assert [e["outcome"] for e in result.events if e["event"] == "agent.tool_call"][1] == "replayed"


def test_a_call_with_an_effect_that_was_cut_is_never_repeated_blindly(program, script, calls) -> None:
    (program.folder / "slow.txt").write_text("60")
    process = program.start(_assignment(script()), fleet_of(program.folder))
    while ["freeze", {"vendor": "V-1"}] not in calls():
        time.sleep(0.02)
    process.kill()
    program.finish(process)
    result = program.run(_assignment(script()), fleet_of(program.folder))
    assert result.failure == ("permanent", "agent-interrupted-call", 69)
    assert [name for name, _ in calls()] == ["history", "freeze"]


def test_a_call_that_only_reads_is_made_again_after_it_was_cut(program, script, calls) -> None:
    progress = {
        "calls": [
            {"key": "k", "step": "history", "tool": "vendors.history", "arguments": {"vendor": "V-1"}, "effect": False}
        ]
    }
    (program.folder / "checkpoint.json").write_text(json.dumps(progress))
    result = program.run(_assignment(script(answers={"report": "x"})), fleet_of(program.folder))
    assert list(result.outputs["steps"]) == ["history", "freeze", "report"]


def test_a_checkpoint_that_cannot_be_understood_is_not_taken_for_none(program, script, calls) -> None:
    (program.folder / "checkpoint.json").write_text('{"version": 2}')
    result = program.run(_assignment(script()), fleet_of(program.folder))
    assert result.failure == ("permanent", "checkpoint-invalid", 78)
    assert calls() == []


@pytest.mark.parametrize(
    ("budget", "what"),
    [
        ({"model_calls": 2}, "model calls"),
        ({"tool_calls": 1}, "tool calls"),
        ({"tokens": 200}, "tokens"),
        ({"time": "1s"}, "seconds"),
    ],
)
def test_a_budget_ends_the_agent_and_counts_earlier_attempts(program, script, budget, what) -> None:
    turns = [{"text": "x", "delay": 5}] if what == "seconds" else []
    agent = script(turns=turns, agent={"budget": budget}, answers={"report": "x"})
    result = program.run(_assignment(agent), fleet_of(program.folder))
    assert result.failure == ("permanent", "agent-budget", 69)
    assert result.verdict.error.details["budget"] == what
    spent = result.verdict.usage
    again = program.run(_assignment(agent), fleet_of(program.folder))
    assert again.failure == ("permanent", "agent-budget", 69)
    assert again.verdict.usage.tool_calls == spent.tool_calls, "nothing more was done"


def test_a_limit_of_cost_needs_prices_and_holds(program, script) -> None:
    agent = script(agent={"budget": {"cost": 0.001}}, answers={"report": "x"})
    assert program.run(_assignment(agent), fleet_of(program.folder)).failure == ("permanent", "no-prices", 78)
    prices = {"models": {"scripted:*": {"prices": {"input": 5, "output": 0}}}}
    (program.folder / "models.yaml").write_text(json.dumps(prices))
    result = program.run(_assignment(agent), fleet_of(program.folder))
    assert result.failure == ("permanent", "agent-budget", 69)
    assert result.verdict.usage.cost == pytest.approx(0.001)
