"""An SOP in both modes on real ADK and a real MCP server with a scripted model; each way of not being equivalent."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from airflow_sop_provider.cli.app import app
from airflow_sop_provider.evals.parity import ImpossibleMode, in_mode
from airflow_sop_provider.sop.loader import check_text
from tests.runner.agents.conftest import fleet_of

pytestmark = pytest.mark.slow

SOP: dict[str, Any] = {
    "sop": "vendor", "version": "1.0.0", "title": "Vendor",
    "inputs": {"vendor": {"type": "string", "default": "V-1"}},
    "data_sources": {"vendors": {"server": "vendors-server", "tools": ["history"]}},
    "steps": [
        {"id": "history", "tool": "vendors.history", "arguments": {"vendor": "{{ inputs.vendor }}"}},
        {"id": "score", "needs": ["history"], "compute": {"many": "steps.history.changes > 2"}},
        {
            "id": "judge", "needs": ["score"],
            "decision": {"question": "Suspicious?", "options": {"clear": "no", "suspicious": "yes"}},
        },
        {"id": "report", "needs": ["judge"], "agent": {"instruction": "Report."}},
    ],
}  # fmt: skip


@pytest.fixture
def parity(tmp_path: Path) -> Callable[..., tuple[int, Any, str]]:
    """Run `sop parity --json` with a script; return exit code, document and everything printed."""

    def run(*arguments: str, sop: dict[str, Any] = SOP, **script: Any) -> tuple[int, Any, str]:
        (tmp_path / "script.yaml").write_text(json.dumps(script))
        model = {"agent": {"model": f"scripted:{tmp_path}/script.yaml"}}
        (tmp_path / "sop.yaml").write_text(json.dumps(sop | model))
        (tmp_path / "fleet.yaml").write_text(fleet_of(tmp_path))
        given = ["parity", str(tmp_path / "sop.yaml"), "--fleet", str(tmp_path / "fleet.yaml"), *arguments]
        done = CliRunner().invoke(app, given, standalone_mode=False)
        output = done.output if done.exception is None else str(done.exception)
        return done.return_value, json.loads(output) if "--json" in arguments else None, output

    return run


RIGHT = {"decisions": {"judge": {"choice": "suspicious"}}, "answers": {"report": "Look at {{ steps.history.vendor }}."}}


def test_both_modes_come_to_the_same_and_it_is_shown_with_what_it_took(parity) -> None:
    code, found, _ = parity("--json", "--inputs", '{"vendor": "V-2"}', **RIGHT)
    system, alone = found["runs"]["system_design"], found["runs"]["agent_centric"]
    assert (code, found["equivalent"], found["differences"]) == (0, True, [])
    assert (
        system["outputs"]["history"] == alone["outputs"]["history"] == {"vendor": "V-2", "changes": 3, "note": "none"}
    )
    assert system["outputs"]["score"] == alone["outputs"]["score"] == {"many": True}
    assert system["decisions"] == alone["decisions"] == {"judge": "suspicious"}
    # an agent's step sees what its prerequisites gave, also where its text does not name them
    assert system["outputs"]["report"] == alone["outputs"]["report"] == {"text": "Look at V-2."}
    assert system["tools"] == alone["tools"] == ["vendors.history"]
    assert (system["spent"]["model_calls"], alone["spent"]["model_calls"]) == (2, 5)
    assert system["deviations"] == alone["deviations"] == []


def test_it_reads_well(parity) -> None:
    code, _, text = parity(**RIGHT)
    lines = text.splitlines()
    assert lines[0].split() == ["system_design", "agent_centric"]
    assert "decisions           judge=suspicious  judge=suspicious" in text
    assert lines[-1] == "vendor: the results are equivalent in both modes"
    assert code == 0


def test_another_choice_is_a_difference(parity) -> None:
    choice = "{{ 'clear' if steps.vendors__history is defined else 'suspicious' }}"  # of one that saw the call
    code, _, text = parity(decisions={"judge": {"choice": choice}})
    assert 'differs: choice of judge: "suspicious" and "clear"' in text
    assert "NOT equivalent" in text
    assert code == 1


def test_a_mode_that_fails_is_a_difference(parity) -> None:
    code, found, _ = parity("--json", decisions={"judge": {"choice": "neither"}})
    assert code == 1
    assert found["runs"]["system_design"]["failures"]["judge"]
    assert "choice of judge" not in [one["what"] for one in found["differences"]]  # neither chose


def test_more_data_than_the_steps_read_is_a_difference(parity) -> None:
    sop = json.loads(json.dumps(SOP))
    sop["data_sources"]["vendors"]["tools"].append("look")  # reads, and no step names it
    turns = [{"call": "vendors__look"}, {"call": "vendors__history", "arguments": {"vendor": "V-1"}}]
    code, found, _ = parity("--json", sop=sop, turns=turns, **RIGHT)
    assert (code, found["runs"]["agent_centric"]["status"]) == (1, "COMPLETED")
    assert "tools called" in [one["what"] for one in found["differences"]]


def test_an_sop_that_one_agent_cannot_carry_out_is_refused_with_the_reason(parity) -> None:
    steps = [*SOP["steps"][:3], {**SOP["steps"][3], "when": "true"}]
    _, _, text = parity(sop=SOP | {"steps": steps})
    assert "step `report` is run on a condition" in text


def test_steps_without_needs_follow_each_other() -> None:
    steps = [{"id": name, "agent": {"instruction": "Think."}} for name in "abc"]
    head = {"sop": "s", "version": "1.0.0", "title": "S", "agent": {"model": "m"}}
    loaded = check_text(json.dumps(head | {"steps": steps})).unwrap()
    assert loaded.mode.mode == "agent_centric"
    chained = in_mode(loaded, "system_design")
    assert (chained.mode.mode, chained.graph.prerequisites("c")) == ("system_design", ("b",))
    assert in_mode(chained, "agent_centric").graph.prerequisites("c") == ("b",)


def test_branches_have_one_mode_alone() -> None:
    branched = json.loads(json.dumps(SOP)) | {"agent": {"model": "m"}}
    for step in branched["steps"][1:]:
        step["needs"] = ["history"]
    with pytest.raises(ImpossibleMode, match="dependents"):
        in_mode(check_text(json.dumps(branched)).unwrap(), "agent_centric")


def test_inputs_that_are_no_object_are_wrong_usage(parity) -> None:
    assert "no JSON object" in parity("--inputs", "[1]")[2]
    assert "no JSON:" in parity("--inputs", "{")[2]


ROOT = Path(__file__).parents[2]


def test_the_shipped_suite_of_an_agentic_sop_holds_wherever_it_is_run(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SOP_MODELS", raising=False)
    suite = ["eval", str(ROOT / "evals" / "package-adoption.yaml"), "--json", "--anew"]
    done = CliRunner().invoke(app, suite, standalone_mode=False)
    document = json.loads(done.output)
    assert (done.return_value, document["summary"]["cases"], document["ok"]) == (0, 7, True)
    (tmp_path / "contrary.yaml").write_text("decisions: {judge: {choice: ask-legal}}\nanswers: {note: alpha}\n")
    (tmp_path / "models.yaml").write_text('models: {"*": {use: "scripted:./contrary.yaml"}}\n')
    monkeypatch.setenv("SOP_MODELS", str(tmp_path / "models.yaml"))
    done = CliRunner().invoke(app, suite, standalone_mode=False)
    failed = [case["id"] for case in json.loads(done.output)["cases"] if not case["success"]]
    assert (done.return_value, "permissive" in failed, "copyleft" in failed) == (1, True, True)  # its note names alpha


def test_the_agentic_sop_comes_to_the_same_in_both_modes_on_real_data(tmp_path, monkeypatch) -> None:
    monkeypatch.delenv("SOP_MODELS", raising=False)
    files = {name: str(ROOT / path) for name, path in (("fleet", "fleet.yaml"), ("models", "evals/sops/models.yaml"))}
    given = ["parity", str(ROOT / "evals" / "sops" / "package-adoption.yaml"), "--json"]
    done = CliRunner().invoke(
        app, [*given, "--fleet", files["fleet"], "--models", files["models"]], standalone_mode=False
    )
    found = json.loads(done.output)
    assert (done.return_value, found["equivalent"]) == (0, True), found["differences"]
    assert found["runs"]["agent_centric"]["decisions"] == {"judge": "adopt"}
