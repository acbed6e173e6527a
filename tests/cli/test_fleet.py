"""`sop fleet` on a fleet with a server that works and some that do not."""

from __future__ import annotations

import json

import pytest

from airflow_sop_provider.cli import main

FLEET = """
servers:
  good: {transport: stdio, command: python, args: [-m, airflow_sop_provider.fleet.servers.python_environment]}
  away: {transport: http, url: "http://127.0.0.1:9/mcp", credentials: {kind: bearer, token: "${AWAY_TOKEN}"}}
"""


@pytest.fixture
def fleet(tmp_path, monkeypatch):
    path = tmp_path / "fleet.yaml"
    path.write_text(FLEET)
    monkeypatch.setenv("AWAY_TOKEN", "s3cret-value")
    return str(path)


def run(capsys, *arguments):
    with pytest.raises(SystemExit) as ended:
        main(["fleet", *arguments])
    out, err = capsys.readouterr()
    assert "s3cret" not in out + err
    return ended.value.code or 0, out, err


def test_list(capsys, fleet):
    code, out, _ = run(capsys, "list", "--fleet", fleet)
    assert code == 0
    assert [line.split()[0] for line in out.splitlines()] == ["away", "good"]
    servers = json.loads(run(capsys, "list", "--fleet", fleet, "--json")[1])["servers"]
    assert [(server["transport"], server["credentials"]) for server in servers] == [("http", "bearer"), ("stdio", None)]


@pytest.mark.slow
def test_tools(capsys, fleet):
    code, out, _ = run(capsys, "tools", "good", "--fleet", fleet, "--json")
    assert code == 0
    tools = {tool["name"]: tool for tool in json.loads(out)["tools"]}
    assert tools["licences"]["annotations"] == {"readOnlyHint": True}
    assert len(tools["licences"]["digest"]) == 64
    assert "licences" in run(capsys, "tools", "good", "--fleet", fleet)[1]


def test_tools_of_a_server_that_is_away(capsys, fleet):
    code, _, err = run(capsys, "tools", "away", "--fleet", fleet)
    assert code == 1
    assert "`away` cannot be reached" in err


@pytest.mark.slow
def test_test_names_each_server_and_what_is_wrong(capsys, fleet):
    code, out, _ = run(capsys, "test", "--fleet", fleet, "--json")
    assert code == 1
    away, good = json.loads(out)["servers"]
    assert (away["ok"], away["code"]) == (False, "mcp-unreachable")
    assert good["ok"]
    assert good["tools"] >= 5
    code, out, _ = run(capsys, "test", "good", "--fleet", fleet)
    assert (code, out.split()[:2]) == (0, ["ok", "good"])


def test_a_server_that_is_not_there(capsys, fleet):
    code, out, _ = run(capsys, "test", "nobody", "--fleet", fleet)
    assert code == 1
    assert "no server `nobody`" in out


def test_a_file_that_is_no_fleet(capsys, tmp_path):
    path = tmp_path / "fleet.yaml"
    path.write_text("servers: 3")
    code, _, err = run(capsys, "list", "--fleet", str(path))
    assert code == 1
    assert "fleet.yaml:1" in err
