"""`sop new`, `explain`, `graph`, `schema`, `set-mode`, `--help`: what they write, and what they refuse."""

from __future__ import annotations

import json
import re
import stat
from pathlib import Path
from xml.etree import ElementTree

import pytest
import yaml
from click.testing import CliRunner, Result
from jsonschema import Draft202012Validator
from pydantic import TypeAdapter

from airflow_sop_provider import __version__
from airflow_sop_provider.cli import graph as graph_module
from airflow_sop_provider.cli.app import SHAPES, app
from airflow_sop_provider.cli.facts import Facts
from airflow_sop_provider.sop import check_text, load_sop
from tests.cli.helpers import ROOT, Sop

SOPS = sorted((ROOT / "sops").glob("*.yaml"))
COMMANDS = sorted(app.commands)

RICH = """\
sop: rich
version: 2.1.0
title: Everything one SOP can say
control: AP-017
owner: treasury
priority: critical
expected_duration: 90m
mode: system_design
inputs:
  vendor: {type: string}
data_sources:
  vendors: {server: vendor-master, tools: [get, freeze, unfreeze]}
agent: {model: gemini-2.5-flash}
resources: {cpu: 250m}
schedule: {cron: "0 1 * * *", timezone: Europe/Berlin, window: 4h, catchup: true}
escalation: [{notifier: some.package.Notifier}]
steps:
  - {id: get, tool: vendors.get, arguments: {id: "{{ inputs.vendor }}"}, timeout: 90s, resources: {memory: 1Gi}}
  - id: judge
    needs: [get]
    decision: {question: Odd?, options: {odd: stop, fine: go on}, rule: "'odd' if steps.get.odd is defined else ask"}
  - {id: sign, needs: [judge], when: "steps.judge.choice == 'odd'", approval: {by: [lead, deputy], not_by: requester}}
  - {id: end, needs: [sign], command: {image: "tool:1", command: [run]}}
  - {id: brief, needs: [end], agent: {instruction: Sum up., tools: [vendors.get]}}
rollback:
  - {id: undo, after: end, tool: vendors.unfreeze}
"""


@pytest.fixture
def rich_sop(tmp_path: Path) -> Path:
    path = tmp_path / "rich.yaml"
    path.write_text(RICH)
    return path


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_with_examples(command: str) -> None:
    done = run(command, "--help")
    assert done.exit_code == 0
    assert "Examples:" in done.stdout


def test_version(sop: Sop) -> None:
    assert sop("--version").stdout == f"sop, version {__version__}\n"


@pytest.mark.parametrize("shape", SHAPES)
def test_new_writes_a_commented_valid_sop_of_each_shape(shape: str) -> None:
    text = run("new", "invoice-review", "--shape", shape, "-o", "-").stdout
    result = check_text(text)
    assert result.problems == ()
    assert result.unwrap().sop.title == "Invoice review"
    assert (result.unwrap().mode.mode == "agent_centric") is (shape == "agent-centric")
    assert text.count("#") >= 10


@pytest.mark.parametrize("sop_id", ["no", "123", "2026-01-01", "1e3", "null", "0x1f", "a" * 63])
def test_new_quotes_an_id_that_yaml_would_read_as_something_else(sop_id: str) -> None:
    text = run("new", sop_id, "--output", "-").stdout
    assert check_text(text).unwrap().sop.sop == sop_id
    assert yaml.safe_load(text)["sop"] == sop_id


@pytest.mark.parametrize("sop_id", ["Invoice", "a_b", "-a", "a" * 64, "a: b", 'a"b', "a\nb", "", " "])
def test_new_refuses_what_cannot_be_an_id(sop: Sop, tmp_path: Path, sop_id: str) -> None:
    done = sop("new", "--", sop_id)
    assert done.returncode == 2
    assert "cannot be the id of an SOP" in done.stderr
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.glob("*.yaml"))


def test_new_refuses_to_overwrite(sop: Sop, tmp_path: Path) -> None:
    assert sop("new", "mine").returncode == 0
    (tmp_path / "mine.yaml").write_text("my work")
    done = sop("new", "mine")
    assert done.returncode == 1
    assert "mine.yaml exists and is left as it is" in done.stderr
    assert (tmp_path / "mine.yaml").read_text() == "my work"


def test_new_into_a_folder_that_is_not_there_says_so_in_a_line(sop: Sop) -> None:
    done = sop("new", "mine", "-o", "nowhere/mine.yaml")
    assert (done.returncode, done.stderr) == (1, "Error: nowhere/mine.yaml: No such file or directory\n")


@pytest.mark.parametrize("path", SOPS, ids=lambda path: path.stem)
def test_explain_gives_the_same_facts_as_text_and_as_json(path: Path) -> None:
    facts = json.loads(run("explain", path, "--json").stdout)
    TypeAdapter(Facts).validate_python(facts, strict=True)
    text = run("explain", path).stdout
    assert facts["sha256"] in text
    assert facts["mode"]["chosen"] in text
    for step in facts["steps"]:
        assert step["does"] in text
        assert f"runs {step['runs']}" in text


def test_explain_names_everything_an_sop_may_touch(rich_sop: Path) -> None:
    text = run("explain", rich_sop).stdout
    for line in (
        "Evidences control AP-017.",
        "Owner treasury, priority critical, usually takes 1h30m.",
        "  system_design (the file says system_design): the SOP asks for it: `mode: system_design`",
        "    - step `sign` waits for an approval",
        "  vendor (string, required)",
        "     calls vendors.get, at most 1m30s an attempt",
        "     decides odd or fine by a rule that may ask an agent",
        "     waits for approval by lead or deputy",
        "     runs after judge, when steps.judge.choice == 'odd'",
        "  undo undoes end: calls vendors.unfreeze",
        "  data source vendors, server vendor-master of the fleet:",
        "    get, called by get and brief",
        "    freeze, called by no step",
        "    unfreeze, called by undo",
        "  command of end, image tool:1",
        "  approval of sign by 1 of lead or deputy, but not the requester",
        "  agent in judge and brief, model gemini-2.5-flash",
        "  every step: cpu 250m",
        "  get: memory 1Gi",
        "  0 1 * * * in Europe/Berlin, started at most 4h late; missed executions are made up for",
        "  some.package.Notifier",
    ):
        assert line in text.splitlines(), f"{line!r} not in\n{text}"


def test_explain_of_an_sop_that_touches_nothing_says_so(good: Path) -> None:
    assert "  nothing outside its own inputs" in run("explain", good).stdout.splitlines()


@pytest.mark.parametrize("arguments", [("explain",), ("graph",), ("set-mode", "auto")])
def test_commands_on_an_invalid_file_show_its_errors(sop: Sop, bad: Path, arguments: tuple[str, ...]) -> None:
    done = sop(arguments[0], bad, *arguments[1:])
    assert (done.returncode, done.stdout) == (1, "")
    assert f"{bad}:8:5: error[unknown-key]" in done.stderr
    assert "Traceback" not in done.stderr


def test_mermaid_shows_kinds_conditions_and_rollback(rich_sop: Path) -> None:
    text = run("graph", rich_sop).stdout
    assert text.splitlines()[0] == "flowchart TD"
    assert '    n1{"judge<br/>decides odd or fine by a rule that may ask an agent"}' in text
    assert '    n2{{"sign<br/>waits for approval by lead or deputy"}}' in text
    assert "    n1 -->|\"when steps.judge.choice == 'odd'\"| n2" in text
    assert '    n3 -.->|"undone by"| n5' in text
    assert len(re.findall(r"-->|-\.->", text)) == 5


def test_mermaid_escapes_what_it_would_read_as_markup(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_text(
        "sop: x\nversion: 1.0.0\ntitle: x\nsteps:\n  - {id: end, compute: {a: '1'}}\n"
        "  - {id: b, needs: [end], when: 'steps.end.a < 2 and \"x\" != \"<b>\"', compute: {a: '1'}}\n"
    )
    text = run("graph", path).stdout
    assert '|"when steps.end.a #lt; 2 and #quot;x#quot; != #quot;#lt;b#gt;#quot;"|' in text
    assert not re.search(r"^\s*end\b", text, re.MULTILINE)


@pytest.mark.parametrize("path", SOPS, ids=lambda path: path.stem)
def test_svg_holds_every_step_and_arrow(path: Path, tmp_path: Path) -> None:
    picture = tmp_path / "x.svg"
    assert run("graph", path, "-o", picture).exit_code == 0
    root = ElementTree.parse(picture).getroot()
    groups = [group.get("class") for group in root.iter("{http://www.w3.org/2000/svg}g")]
    loaded = load_sop(path)
    undos = len(loaded.sop.rollback)
    assert groups.count("node") == len(loaded.sop.steps) + undos
    assert groups.count("edge") == len(loaded.graph.edges) + undos


def test_svg_without_dot_names_the_remedy(sop: Sop, good: Path, tmp_path: Path) -> None:
    done = sop("graph", good, "--format", "svg", PATH=str(tmp_path))
    assert done.returncode == 1
    assert done.stderr.startswith("Error: Graphviz's `dot` is not installed. Install it")
    assert len(done.stderr.splitlines()) == 1


def test_svg_goes_to_stdout_without_an_output(rich_sop: Path) -> None:
    assert run("graph", rich_sop, "--format", "svg").stdout.startswith("<?xml")
    assert "judge" in graph_module.svg(load_sop(rich_sop).sop)


def test_schema_accepts_the_shipped_sops_and_refuses_unknown_keys(sop: Sop) -> None:
    done = sop("schema")
    schema = json.loads(done.stdout)
    Draft202012Validator.check_schema(schema)
    validator = Draft202012Validator(schema)
    for path in SOPS:
        assert list(validator.iter_errors(yaml.safe_load(path.read_text()))) == []
    broken = {**yaml.safe_load(SOPS[0].read_text()), "stepps": []}
    assert [error.validator for error in validator.iter_errors(broken)] == ["additionalProperties"]


def test_set_mode_changes_the_mode_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "brief.yaml"
    before = (ROOT / "sops" / "package-brief.yaml").read_text()
    path.write_text(before)
    path.chmod(0o640)
    link = tmp_path / "link.yaml"
    link.symlink_to(path)
    done = run("set-mode", link, "system_design")
    assert done.stdout == f"{link}: mode auto -> system_design.\n"
    assert load_sop(path).mode.mode == "system_design"
    assert link.is_symlink()
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    added = set(path.read_text().splitlines()) - set(before.splitlines())
    assert added == {"mode: system_design"}
    assert [line for line in path.read_text().splitlines() if line not in added] == before.splitlines()
    assert "already" in run("set-mode", path, "system_design").stdout
    assert sorted(p.name for p in tmp_path.iterdir()) == ["brief.yaml", "link.yaml"]


def test_set_mode_refuses_an_incompatible_mode_and_leaves_the_file(sop: Sop, rich_sop: Path) -> None:
    done = sop("set-mode", rich_sop, "agent_centric")
    assert done.returncode == 1
    assert done.stderr.count("error[incompatible-mode]") >= 4
    assert rich_sop.read_text() == RICH


def test_set_mode_knows_its_modes(sop: Sop, good: Path) -> None:
    done = sop("set-mode", good, "fast")
    assert done.returncode == 2
    assert "'auto', 'system_design', 'agent_centric'" in done.stderr


def test_a_bug_is_one_line_and_its_trace_can_be_asked_for(monkeypatch: pytest.MonkeyPatch, good: Path) -> None:
    from airflow_sop_provider import cli

    def broken(*_: object) -> int:
        raise ZeroDivisionError("oops")

    monkeypatch.setattr(cli, "_run", broken)
    monkeypatch.delenv("SOP_TRACEBACK", raising=False)
    with pytest.raises(SystemExit) as left:
        cli.main(["explain", str(good)])
    assert left.value.code == 1
    monkeypatch.setenv("SOP_TRACEBACK", "1")
    with pytest.raises(ZeroDivisionError):
        cli.main(["explain", str(good)])
