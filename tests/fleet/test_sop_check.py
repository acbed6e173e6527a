"""SOPs held against servers: what a server alone knows is an error at its place in the file."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

from airflow_sop_provider.cli.app import app
from airflow_sop_provider.fleet.sop_check import check_against, servers_of
from airflow_sop_provider.sop import check_text

SOP = """\
sop: demo
version: 1.0.0
title: Demo
mode: system_design
data_sources:
  crm: {server: crm-server, tools: [find, close]}
steps:
  - id: find
    tool: crm.find
    arguments: {customer: "{{ inputs.x }}", limit: 5}
inputs: {x: {type: string}}
rollback:
  - id: undo
    after: find
    tool: crm.reopen
"""
FIND = {
    "inputSchema": {
        "type": "object",
        "properties": {
            "customer": {"type": "string", "description": "whose"},
            "limit": {"$ref": "#/$defs/limit"},
            "tags": {"type": "array", "items": {"type": "string"}},
        },
        "required": ["customer"],
        "$defs": {"limit": {"type": "integer", "maximum": 10}},
    }
}
TOOLS = {"find": FIND, "close": {}, "reopen": {"inputSchema": {"type": "object"}}}


def problems(text=SOP, **fleet):
    result = check_text(text, "demo.yaml")
    assert result.ok, result.problems
    return check_against(result, fleet or {"crm-server": TOOLS}).problems


def test_an_sop_that_fits_its_servers_stays_as_it_is():
    result = check_text(SOP, "demo.yaml")
    assert check_against(result, {"crm-server": TOOLS, "other": "away"}) is result
    assert servers_of(result.unwrap()) == {"crm-server"}


def test_a_file_with_errors_of_its_own_is_left_with_them():
    result = check_text("sop: demo", "demo.yaml")
    assert check_against(result, {}) is result


@pytest.mark.parametrize(
    ("old", "new", "code", "place", "hint"),
    [
        ("crm-server", "crm-sever", "unknown-server", (6, 17), "did you mean `crm-server`?"),
        ("[find, close]", "[find, clsoe]", "unknown-tool", (6, 43), "did you mean `close`?"),
        ("crm.reopen", "crm.reopne", "unknown-tool", (15, 11), "did you mean `reopen`?"),
        ("limit: 5", "limt: 5", "unknown-argument", (10, 45), "did you mean `limit`?"),
        ("limit: 5", "limit: 50", "wrong-argument", (10, 52), None),
        ("limit: 5", "tags: [1]", "wrong-argument", (10, 51), None),
        ('customer: "{{ inputs.x }}", limit: 5', "limit: 5", "missing-argument", (10, 5), "`customer`: string, whose"),
        ('arguments: {customer: "{{ inputs.x }}", limit: 5}', "title: Bare", "missing-argument", (9, 11), None),
    ],
)  # fmt: skip
def test_what_a_server_knows(old, new, code, place, hint):
    assert old in SOP
    (problem,) = problems(SOP.replace(old, new, 1))
    assert (problem.code, (problem.line, problem.column)) == (code, place)
    if hint is not None:
        assert problem.suggestion == hint
    assert problem.excerpt in SOP.replace(old, new, 1)


def test_a_value_with_an_expression_is_known_when_it_runs():
    assert not problems(SOP.replace("limit: 5", 'limit: "{{ inputs.x }}"'))
    assert not problems(SOP.replace("limit: 5", 'tags: ["{{ inputs.x }}"]'))


def test_a_tool_that_takes_anything():
    open_schema = {"inputSchema": {**FIND["inputSchema"], "additionalProperties": True}}
    assert not problems(SOP.replace("limit: 5", "limt: 5"), **{"crm-server": {**TOOLS, "find": open_schema}})


def test_a_server_that_is_away_is_said_once_and_nothing_is_guessed_about_its_tools():
    (problem,) = problems(**{"crm-server": "it cannot be reached"})
    assert problem.code == "server-unavailable"
    assert "it cannot be reached" in problem.message


REAL = """\
sop: real
version: 1.0.0
title: Real
data_sources: {{environment: {{server: python-environment, tools: [licences]}}}}
steps:
  - {{id: a, tool: environment.licences, arguments: {{{argument}: [pyyaml]}}}}
"""


@pytest.mark.parametrize(("argument", "exit_code"), [("names", 0), ("nmes", 1)])
def test_the_command_asks_the_real_server(tmp_path, argument, exit_code):
    sop, fleet = tmp_path / "real.yaml", tmp_path / "fleet.yaml"
    sop.write_text(REAL.format(argument=argument))
    module = "airflow_sop_provider.fleet.servers.python_environment"
    fleet.write_text(
        f"servers: {{python-environment: {{transport: stdio, command: python, args: [-m, {module}]}}, x: "
        '{transport: http, url: "http://127.0.0.1:9/mcp"}}'
    )
    done = CliRunner().invoke(app, ["validate", str(sop), "--fleet", str(fleet)], standalone_mode=False)
    assert done.return_value == exit_code, done.output
    if exit_code:
        assert "real.yaml:6:" in done.output
        assert "did you mean `names`?" in done.output
        assert "missing-argument" in done.output
