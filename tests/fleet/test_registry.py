"""The fleet's registry: what it accepts, and errors that name the line."""

from __future__ import annotations

from pathlib import Path

import pytest

from airflow_sop_provider.fleet.registry import (
    FleetError,
    HttpServer,
    MissingVariableError,
    StdioServer,
    load_fleet,
    resolve_variables,
)

ROOT = Path(__file__).parents[2]


@pytest.fixture
def load(tmp_path):
    def run(text: str):
        path = tmp_path / "fleet.yaml"
        path.write_text(text)
        return load_fleet(path)

    return run


def test_the_fleet_that_ships():
    server = load_fleet(ROOT / "fleet.yaml").server("python-environment")
    assert isinstance(server, StdioServer)
    assert server.args[-1] == "airflow_sop_provider.fleet.servers.python_environment"


def test_both_transports(load):
    fleet = load(
        "servers:\n"
        "  a: {transport: stdio, command: x, args: [y], env: {K: '${V}'}, timeout: 5}\n"
        "  b: {transport: http, url: 'http://127.0.0.1:1/mcp', headers: {A: b}}\n"
    )
    assert fleet.server("a") == StdioServer(transport="stdio", command="x", args=("y",), env={"K": "${V}"}, timeout=5)
    assert isinstance(fleet.server("b"), HttpServer)


def test_unknown_server_lists_the_known(load):
    with pytest.raises(FleetError, match=r"no server `c` \(it has: a, b\)"):
        load("servers: {b: {transport: stdio, command: x}, a: {transport: stdio, command: x}}").server("c")


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("servers:\n  a:\n    transport: stdio\n    comand: x\n", "fleet.yaml:4: `servers.a.comand`"),
        ("servers:\n  a:\n    transport: stdio\n", "fleet.yaml:2: `servers.a.command`"),
        ("servers:\n  a:\n    transport: pigeon\n", "fleet.yaml:2: `servers.a`"),
        ("servers:\n  a: {transport: http, url: ftp://x}\n", "fleet.yaml:2: `servers.a.url`"),
        (
            "servers:\n  a:\n    transport: stdio\n    command: x\n    args:\n      - 1\n",
            "fleet.yaml:6: `servers.a.args.0`",
        ),
        ("servers:\n  a:\n    transport: stdio\n    command: x\n    timeout: 0\n", "fleet.yaml:5: `servers.a.timeout`"),
        ("", "fleet.yaml:1: `document`"),
        ("- a\n", "fleet.yaml:1: `document`"),
        ("servers:\n  a: {\n", "fleet.yaml:3:1: not valid YAML"),
        ("servers: !!python/object:os.system x\n", "fleet.yaml:1:10: not valid YAML"),
    ],
)
def test_errors_name_the_line(load, text, where):
    with pytest.raises(FleetError) as raised:
        load(text)
    assert where in str(raised.value)


def test_all_errors_at_once(load):
    with pytest.raises(FleetError) as raised:
        load("servers:\n  a: {transport: stdio}\n  b: {transport: http}\n")
    assert len(str(raised.value).splitlines()) == 2


@pytest.mark.parametrize("make", [lambda path: path, lambda path: path.mkdir(), lambda path: path.write_bytes(b"\xff")])
def test_file_that_cannot_be_read(tmp_path, make):
    make(tmp_path / "fleet.yaml")
    with pytest.raises(FleetError, match="cannot be read"):
        load_fleet(tmp_path / "fleet.yaml")


def test_variables():
    assert resolve_variables({"a": "x ${B}${B}", "c": "$B {B}"}, {"B": "1"}) == {"a": "x 11", "c": "$B {B}"}


def test_missing_variable_is_named_and_no_value_is(monkeypatch):
    with pytest.raises(MissingVariableError, match="`\\$\\{NOPE\\}`") as raised:
        resolve_variables({"a": "${KNOWN} ${NOPE}"}, {"KNOWN": "s3cret"})
    assert "s3cret" not in str(raised.value)
