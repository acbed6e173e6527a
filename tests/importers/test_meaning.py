"""What is imported means what the source means: the ways through it are executed, in this process."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from airflow_sop_provider.evals.execution import InProcess
from airflow_sop_provider.evals.models import Case, RecordedResult
from airflow_sop_provider.evals.trace import Trace
from airflow_sop_provider.importers.flow import Imported, ImportFailedError
from airflow_sop_provider.importers.reading import import_text
from airflow_sop_provider.sop import check_text
from tests.cli.helpers import ROOT

SSM = """\
schemaVersion: '0.3'
description: Stop a machine that nobody uses
parameters:
  Machine: {type: String, description: Its id}
  Kind: {type: String, default: test, allowedValues: [test, live]}
mainSteps:
  - name: look
    action: aws:executeAwsApi
    timeoutSeconds: 60
    maxAttempts: 2
    inputs: {Service: ec2, Api: DescribeInstances, InstanceIds: ["{{ Machine }}"]}
    outputs: [{Name: State, Selector: "$.Reservations[0].State", Type: String}]
  - name: isLive
    action: aws:branch
    inputs:
      Choices:
        - And: [{Variable: "{{ Kind }}", StringEquals: live}, {Variable: "{{ look.State }}", StringEquals: running}]
          NextStep: ask
        - {Variable: "{{ look.State }}", StringEquals: stopped, NextStep: done}
      Default: stop
  - name: ask
    action: aws:approve
    inputs: {Approvers: [lead, deputy], MinRequiredApprovals: 2, Message: May it stop?}
  - name: stop
    action: aws:executeAwsApi
    onFailure: step:alarm
    inputs: {Service: ec2, Api: StopInstances, InstanceIds: ["{{ Machine }}"]}
  - name: done
    action: aws:executeScript
    isEnd: true
    inputs: {Runtime: python3.11, Handler: tell, Script: "print(1)"}
  - name: alarm
    action: aws:executeAwsApi
    inputs: {Service: sns, Api: Publish}
"""


def run(imported: Imported, inputs: dict[str, Any], *recorded: dict[str, Any]) -> Trace:
    loaded = check_text(imported.text).unwrap()
    approvals = {step.id: "approved" for step in loaded.sop.steps if step.approval is not None}
    case = Case.model_validate({"id": "c", "inputs": inputs, "approvals": approvals})
    return InProcess(loaded, tuple(RecordedResult.model_validate(one) for one in recorded)).execute(case)


def ran(trace: Trace) -> set[str]:
    return {step for step, state in trace.states.items() if state == "succeeded"}


@pytest.mark.parametrize(
    ("kind", "state", "steps"),
    [
        ("live", "running", {"look", "is_live", "ask", "stop", "done"}),
        ("test", "running", {"look", "is_live", "stop", "done"}),
        ("live", "stopped", {"look", "is_live", "done"}),
    ],
)
def test_ssm_takes_the_ways_of_the_source(kind: str, state: str, steps: set[str]) -> None:
    imported = import_text(SSM.encode(), "ssm", "stop-machine")
    look = {"tool": "aws-ec2.DescribeInstances", "arguments": {"InstanceIds": ["i-1"]},
            "result": {"Reservations": [{"State": state}]}}  # fmt: skip
    stop = {"tool": "aws-ec2.StopInstances", "arguments": {"InstanceIds": ["i-1"]}, "result": {}}
    trace = run(imported, {"Machine": "i-1", "Kind": kind}, look, stop)
    assert (trace.status, ran(trace)) == ("COMPLETED", steps), trace.failures


def test_ssm_report_says_what_is_not_the_same() -> None:
    imported = import_text(SSM.encode(), "ssm", "stop-machine")
    outcomes = {entry.source: (entry.outcome, entry.steps) for entry in imported.entries}
    assert outcomes == {
        "look": ("mapped", ("look",)),
        "isLive": ("mapped", ("is_live",)),
        "ask": ("mapped", ("ask",)),
        "stop": ("approximated", ("stop",)),
        "done": ("refused", ("done",)),
        "alarm": ("refused", ()),
    }
    sop = check_text(imported.text).unwrap().sop
    ask, look = sop.step("ask").approval, sop.step("look")
    assert ask is not None
    assert (ask.by, ask.quorum) == (["lead", "deputy"], 2)
    assert look.timeout is not None
    assert look.retry is not None
    assert (look.timeout.total_seconds(), look.retry.max_retries) == (60, 1)
    assert sop.inputs["Kind"] == {"type": "string", "enum": ["test", "live"], "default": "test"}
    assert "# Left out: aws:executeAwsApi alarm" in imported.text


def test_a_jump_back_is_left_to_a_person() -> None:
    text = """\
schemaVersion: "0.3"
mainSteps:
  - {name: a, action: "aws:pause"}
  - {name: b, action: "aws:sleep", inputs: {Duration: PT1M}, nextStep: a}
"""
    imported = import_text(text.encode(), "ssm", "loop")
    assert [(entry.source, entry.outcome, entry.steps) for entry in imported.entries] == [
        ("a", "mapped", ("a",)), ("b", "approximated", ("b", "b_confirm")),
    ]  # fmt: skip
    assert check_text(imported.text).unwrap().sop.step("b").command.command == ["sleep", "60"]


def xsoar(severity: str) -> tuple[Imported, Trace]:
    def task(kind: str, name: str, after: dict[str, list[str]], **more: Any) -> dict[str, Any]:
        about = {"name": name, **more.pop("about", {})}
        return {"type": kind, "task": about, "nexttasks": after, **more}

    document = {
        "name": "Triage", "starttaskid": "0",
        "inputs": [{"key": "Severity", "value": {"simple": "low"}}, {"key": "Host", "value": {}, "required": True}],
        "tasks": {
            "0": task("start", "", {"#none#": ["1"]}),
            "1": task("title", "Decide", {"#none#": ["2"]}),
            "2": task("condition", "Is it severe?", {"yes": ["3"], "#default#": ["4"]}, conditions=[{
                "label": "yes", "condition": [[{"operator": "isEqualString",
                    "left": {"value": {"simple": "inputs.Severity"}, "iscontext": True},
                    "right": {"value": {"simple": "high"}}}]]}]),
            "3": task("regular", "Isolate", {"#none#": ["4"]},
                      about={"script": "Edr|||isolate-host", "iscommand": True},
                      scriptarguments={"host": {"simple": "${inputs.Host}"}}),
            "4": task("regular", "Tell the owner", {}, about={"description": "By phone"}),
        },
    }  # fmt: skip
    imported = import_text(json.dumps(document).encode(), "xsoar", "triage")
    answer = {"tool": "edr.isolate-host", "arguments": {"host": "h-1"}, "result": {}}
    return imported, run(imported, {"Severity": severity, "Host": "h-1"}, answer)


@pytest.mark.parametrize(("severity", "isolated"), [("high", True), ("low", False)])
def test_xsoar_takes_the_ways_of_the_source(severity: str, isolated: bool) -> None:
    imported, trace = xsoar(severity)
    assert trace.status == "COMPLETED", trace.failures
    assert ran(trace) == {"is_it_severe", "tell_the_owner"} | ({"isolate"} if isolated else set())
    assert [entry.outcome for entry in imported.entries] == ["mapped"] * 5


CACAO: dict[str, Any] = {
    "type": "playbook", "spec_version": "cacao-2.0", "name": "Contain",
    "playbook_variables": {"__level__": {"type": "integer", "value": "1"}},
    "workflow_start": "start--1",
    "workflow": {
        "start--1": {"type": "start", "on_completion": "if-condition--1"},
        "if-condition--1": {"type": "if-condition", "name": "Severe", "condition": "__level__:value > 3",
                            "on_true": "parallel--1", "on_completion": "action--last"},
        "parallel--1": {"type": "parallel", "next_steps": ["action--a", "action--b"]},
        "action--a": {"type": "action", "name": "Block", "commands": [{"type": "manual", "command": "Block it"}],
                      "on_completion": "end--branch"},
        "action--b": {"type": "action", "name": "Log", "commands": [{"type": "manual", "command": "Log it"}],
                      "on_completion": "end--branch"},
        "end--branch": {"type": "end"},
        "action--last": {"type": "action", "name": "Report", "commands": [{"type": "bash", "command": "rm -rf /"}],
                         "on_completion": "while-condition--1"},
        "while-condition--1": {"type": "while-condition", "name": "Watch", "condition": "__level__:value > 0",
                               "on_true": "action--inner", "on_completion": "end--1"},
        "action--inner": {"type": "action", "name": "Look", "commands": [{"type": "manual", "command": "Look"}]},
        "end--1": {"type": "end"},
    },
}  # fmt: skip


@pytest.mark.parametrize(
    ("level", "steps"), [(5, {"severe", "block", "log", "report", "watch"}), (1, {"severe", "report", "watch"})]
)
def test_cacao_takes_the_ways_of_the_source(level: int, steps: set[str]) -> None:
    trace = run(import_text(json.dumps(CACAO).encode(), "cacao", "contain"), {"level": level})
    assert (trace.status, ran(trace)) == ("COMPLETED", steps), trace.failures


def test_cacao_report() -> None:
    imported = import_text(json.dumps(CACAO).encode(), "cacao", "contain")
    outcomes = {entry.source: entry.outcome for entry in imported.entries}
    assert outcomes["if-condition--1"] == outcomes["action--a"] == "mapped"
    assert outcomes["action--last"] == outcomes["while-condition--1"] == outcomes["action--inner"] == "refused"
    steps = {step.id: step for step in check_text(imported.text).unwrap().sop.steps}
    assert all(step.command is None for step in steps.values()), "nothing of the source is run here"


@pytest.mark.parametrize(
    ("form", "text", "reason"),
    [
        ("ssm", "schemaVersion: '2.2'\n", "`schemaVersion` is not 0.3"),
        ("ssm", "schemaVersion: '0.3'\nmainSteps: []\n", "`mainSteps`"),
        ("ssm", "a: [\n", "error[yaml-syntax]"),
        ("ssm", "a: 1\na: 2\n", "error[duplicate-key]"),
        ("xsoar", "tasks: {a: {}}\n", "`starttaskid`"),
        ("cacao", '{"type": "playbook", "spec_version": "1.1"}', "cacao-2.0"),
        ("cacao", '{"type": "playbook", "spec_version": "cacao-2.0", "workflow": {}}', "`workflow_start`"),
    ],
)
def test_what_cannot_be_imported_is_refused_with_the_reason(form: str, text: str, reason: str) -> None:
    with pytest.raises(ImportFailedError) as caught:
        import_text(text.encode(), form, "x")
    assert reason in str(caught.value)


@pytest.mark.slow
def test_command(tmp_path: Path) -> None:
    (tmp_path / "stop.yaml").write_text(SSM)
    program = [
        sys.executable,
        "-c",
        f"import sys; sys.path.insert(0, {str(ROOT)!r})\nfrom airflow_sop_provider.cli import main; main()",
    ]

    def sop(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([*program, *arguments], cwd=tmp_path, capture_output=True, text=True, check=False)

    done = sop("import", "ssm", "stop.yaml", "-o", "out.yaml", "--id", "stop-machine")
    assert done.returncode == 1, "a step found no place"
    assert "refused      alarm (aws:executeAwsApi) -> no step" in done.stderr
    assert done.stderr.endswith("6 steps: 3 mapped, 1 approximated, 2 refused.\n")
    assert sop("validate", "out.yaml").returncode == 0
    assert "exists and is left as it is" in sop("import", "ssm", "stop.yaml", "-o", "out.yaml").stderr
    report = json.loads(sop("import", "ssm", "stop.yaml", "--json").stdout)
    assert (report["mapped"], report["approximated"], report["refused"], len(report["steps"])) == (3, 1, 2, 6)
    refused = sop("import", "xsoar", "stop.yaml")
    assert (refused.returncode, refused.stdout) == (1, "")
    assert refused.stderr.startswith("Error: stop.yaml: `tasks` is not a mapping")


def test_an_end_that_nothing_leads_to_is_nothing_to_carry_out() -> None:
    """As in published playbooks: every branching names an end of its own, which its branches do not reach."""
    workflow = {
        "start--1": {"type": "start", "on_completion": "action--1"},
        "action--1": {"type": "action", "name": "Patch", "on_completion": "end--1"},
        "action--2": {"type": "action", "name": "Forgotten", "on_completion": "end--2"},
        "end--1": {"type": "end"},
        "end--2": {"type": "end"},
    }
    playbook = {"type": "playbook", "spec_version": "cacao-2.0", "id": "playbook--1", "name": "Patch",
                "workflow_start": "start--1", "workflow": workflow}  # fmt: skip
    imported = import_text(json.dumps(playbook).encode(), "cacao", "patch")
    outcomes = {entry.source: entry.outcome for entry in imported.entries}
    assert outcomes["end--2"] == "mapped"
    assert outcomes["action--2"] == "refused"
