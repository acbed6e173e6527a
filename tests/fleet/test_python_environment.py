"""The server of the installed Python environment against an independent look at the same files."""

from __future__ import annotations

import asyncio
import base64
import csv
import hashlib
import json
import re
import socket
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest
from mcp import Client, StdioServerParameters

from airflow_sop_provider.fleet.servers import python_environment
from airflow_sop_provider.fleet.servers.python_environment_tools import build_server

MODULE = "airflow_sop_provider.fleet.servers.python_environment"


def ask(tool, server=None, **arguments):
    async def call():
        async with Client(server or build_server()) as client:
            return await client.call_tool(tool, arguments)

    result = asyncio.run(call())
    assert not result.is_error, result.content
    return result.structured_content


def independent_names():
    names = {}
    for distribution in metadata.distributions():
        names.setdefault(re.sub(r"[-_.]+", "-", distribution.metadata["Name"]).lower(), distribution.metadata["Name"])
    return [names[key] for key in sorted(names)]


def test_groups_hold_every_distribution_once():
    result = ask("package_groups", size=7)
    assert [name for group in result["groups"] for name in group] == independent_names()
    assert {len(group) for group in result["groups"][:-1]} == {7}
    assert result["total"] == len(independent_names())


@pytest.mark.slow
def test_pages_hold_every_distribution_once():
    seen, offset = [], 0
    while offset is not None:
        page = ask("list_distributions", offset=offset, limit=60)
        seen += page["distributions"]
        offset = page["next_offset"]
    assert [entry["name"] for entry in seen] == independent_names()
    for entry in seen:
        assert entry["version"] == metadata.version(entry["name"])
        assert entry["files"] == len(list(csv.reader((record(entry["name"]) or "").splitlines())))


def record(name):
    return metadata.distribution(name).read_text("RECORD")


def test_licences_are_what_the_metadata_says():
    names = independent_names()
    result = ask("licences", names=[*names[:100], "No.Such_Thing"])
    assert result["not_installed"] == ["No.Such_Thing"]
    assert [entry["name"] for entry in result["packages"]] == names[:100]
    for entry in result["packages"]:
        fields = metadata.metadata(entry["name"])
        assert entry["expression"] == fields.get("License-Expression")
        assert entry["classifiers"] == [c for c in fields.get_all("Classifier") or [] if c.startswith("License")]
        if entry["expression"]:
            assert (entry["licence"], entry["licence_source"]) == (entry["expression"], "expression")


def test_python_info():
    result = ask("python_info")
    assert result["version"] == ".".join(map(str, sys.version_info[:3]))
    assert result["distributions"] == len(independent_names())


def test_records_equal_an_independent_computation():
    names = ["pydantic", "Jinja2", "PyYAML", "hypothesis"]
    result = ask("verify_record", names=names)
    for entry in result["packages"]:
        files = bytes_read = 0
        for path, declared, _ in csv.reader(record(entry["name"]).splitlines()):
            if declared:
                content = Path(metadata.distribution(entry["name"]).locate_file(path)).read_bytes()
                digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).decode().rstrip("=")
                assert declared == f"sha256={digest}"
                files, bytes_read = files + 1, bytes_read + len(content)
        assert (entry["files_checked"], entry["bytes_checked"]) == (files, bytes_read)
    assert result["intact"] is True
    assert result["files_checked"] == sum(entry["files_checked"] for entry in result["packages"])


@pytest.fixture
def planted(tmp_path):
    """A site-packages folder with one package, its RECORD correct."""
    folder = tmp_path / "site"
    (folder / "demo").mkdir(parents=True)
    (folder / "demo-1.0.dist-info").mkdir()
    (folder / "demo-1.0.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: Demo.Pkg\nVersion: 1.0\n")
    lines = ["demo/generated.pyc,,", "demo-1.0.dist-info/RECORD,,"]
    for name, text in {"demo/__init__.py": "", "demo/a.py": "a = 1\n", "demo/b, c.py": "b = 2\n"}.items():
        (folder / name).write_text(text)
        digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).decode().rstrip("=")
        lines.append(f'"{name}",sha256={digest},{len(text)}')
    (folder / "demo-1.0.dist-info" / "RECORD").write_text("\n".join(lines) + "\n")
    return folder


def test_untouched_package_is_intact(planted):
    result = ask("verify_record", build_server(planted), names=["demo_pkg"])
    assert result["intact"] is True
    assert (result["packages"][0]["files_checked"], result["packages"][0]["files_without_hash"]) == (3, 2)


@pytest.mark.slow
def test_modified_and_missing_files_are_found_over_stdio(planted):
    (planted / "demo" / "a.py").write_text("a = 2\n")
    (planted / "demo" / "b, c.py").unlink()
    command = StdioServerParameters(command=sys.executable, args=["-m", MODULE, "--path", str(planted)])
    result = ask("verify_record", command, names=["demo.pkg"])
    (entry,) = result["packages"]
    assert entry["mismatched"] == ["demo/a.py"]
    assert entry["missing"] == ["demo/b, c.py"]
    assert (result["intact"], result["mismatched"], result["missing"]) == (False, 1, 1)


def test_package_without_record_is_not_intact(planted):
    (planted / "demo-1.0.dist-info" / "RECORD").unlink()
    result = ask("verify_record", build_server(planted), names=["demo-pkg"])
    assert (result["intact"], result["packages"][0]["recorded"]) == (False, False)


def test_package_that_is_not_installed_is_not_intact(planted):
    result = ask("verify_record", build_server(planted), names=["other"])
    assert (result["intact"], result["not_installed"]) == (False, ["other"])


def test_findings_are_bounded_and_say_so(planted):
    lines = [f"demo/gone{n}.py,sha256=AAAA,1" for n in range(150)]
    (planted / "demo-1.0.dist-info" / "RECORD").write_text("\n".join(lines))
    (entry,) = ask("verify_record", build_server(planted), names=["demo-pkg"])["packages"]
    assert (len(entry["missing"]), entry["truncated"]) == (100, True)


@pytest.mark.parametrize(
    ("fields", "licence", "source"),
    [
        ("License-Expression: MIT\nLicense: other\n", "MIT", "expression"),
        (
            "Classifier: License :: OSI Approved :: MIT License\nClassifier: License :: OSI Approved\n",
            "MIT License",
            "classifier",
        ),
        (
            "Classifier: License :: OSI Approved :: A\nClassifier: License :: Public Domain\n",
            "A OR Public Domain",
            "classifier",
        ),
        ("License: BSD-3\n", "BSD-3", "field"),
        ("License: UNKNOWN\n", None, "none"),
        ("License: line one\n        line two\n", None, "none"),
        ("", None, "none"),
    ],
)
def test_licence_statement(planted, fields, licence, source):
    path = planted / "demo-1.0.dist-info" / "METADATA"
    path.write_text(path.read_text() + fields)
    (entry,) = ask("licences", build_server(planted), names=["demo-pkg"])["packages"]
    assert (entry["licence"], entry["licence_source"]) == (licence, source)


def test_arguments_are_bounded():
    with pytest.raises(AssertionError, match="licences"):
        ask("licences", names=[])
    with pytest.raises(AssertionError, match="package_groups"):
        ask("package_groups", size=0)


def test_every_tool_declares_its_result():
    async def tools():
        async with Client(build_server()) as client:
            return (await client.list_tools()).tools

    for tool in asyncio.run(tools()):
        assert tool.output_schema["properties"], tool.name
        assert tool.description


@pytest.mark.slow
def test_http(planted):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = subprocess.Popen(
        [sys.executable, "-m", MODULE, "--path", str(planted), "--http", f"127.0.0.1:{port}"],
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        while server.poll() is None:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
        assert ask("package_groups", f"http://127.0.0.1:{port}/mcp")["groups"] == [["Demo.Pkg"]]
    finally:
        server.terminate()
        server.communicate()


@pytest.mark.parametrize("arguments", [["--path", "/no/such/folder"], ["--http", "8080"], ["--http", "host:port"]])
def test_arguments_of_the_program(arguments, capsys):
    with pytest.raises(SystemExit) as raised:
        python_environment.main(arguments)
    assert raised.value.code == 2
    assert arguments[0] in capsys.readouterr().err


@pytest.mark.slow
def test_the_server_that_ships_answers_a_step(tmp_path):
    """The whole way: runner, fleet.yaml that ships, server over stdio."""
    root = Path(__file__).parents[2]
    key = {"sop": "s", "run_id": "r", "step": "x", "attempt": 1, "task_instance_id": "t"}
    step = {"id": "x", "tool": "py.licences", "arguments": {"names": ["{{ inputs.name }}"]}}
    sources = {"py": {"server": "python-environment", "tools": ["licences"]}}
    payload = {"kind": "step", "sop": "s", "version": "1", "digest": "d", "step": step, "data_sources": sources}
    (tmp_path / "a.json").write_text(json.dumps({"key": key, "payload": payload, "inputs": {"name": "pydantic"}}))
    environment = {
        "PYTHONPATH": str(root),
        "SOP_STEP": str(tmp_path / "a.json"),
        "SOP_VERDICT": str(tmp_path / "v.json"),
        "SOP_FLEET": str(root / "fleet.yaml"),
    }
    runner = subprocess.run(
        [sys.executable, "-m", "airflow_sop_provider.runner"], env=environment, capture_output=True, text=True
    )
    assert runner.returncode == 0, runner.stdout + runner.stderr
    (package,) = json.loads((tmp_path / "v.json").read_text())["outputs"]["packages"]
    assert package["version"] == metadata.version("pydantic")
