"""The SOPs that ship, in this process over the real MCP server and the environment that the integration tests plant.

`tests/integration/test_shipped_sops.py` expects the same of an Airflow; the server is started once and stays warm.
"""

from __future__ import annotations

import json
import platform
import sys
from pathlib import Path
from typing import Any

import pytest

from airflow_sop_provider.evals.models import Case
from airflow_sop_provider.evals.running import in_process
from airflow_sop_provider.evals.suite import LoadedSuite, load_suite
from airflow_sop_provider.evals.trace import Trace
from tests.cli.helpers import ROOT
from tests.cli.test_shipped_sops import install

pytestmark = pytest.mark.slow

SERIES = ".".join(platform.python_version_tuple()[:2])


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("planted")
    site = folder / "site-packages"
    site.mkdir()
    install(site, "permissive", "License-Expression: MIT")
    install(site, "classified", "Classifier: License :: OSI Approved :: BSD License")
    install(site, "copyleft", "License-Expression: AGPL-3.0-only", version="3.0")
    install(site, "weak", "License-Expression: MPL-2.0").write_text("NAME = 'not weak'\n")
    arguments = ["-m", "airflow_sop_provider.fleet.servers.python_environment", "--path", str(site)]
    server = {"transport": "stdio", "command": "python", "args": arguments, "timeout": 300}
    path = folder / "fleet.yaml"
    path.write_text(json.dumps({"servers": {"python-environment": server}}))
    return path


def suite(folder: Path, fleet: Path, sop: str) -> LoadedSuite:
    path = folder / "suite.yaml"
    document = {
        "suite": "parity",
        "sop": str(ROOT / "sops" / f"{sop}.yaml"),
        "fleet": str(fleet),
        "cases": [{"id": "x"}],
    }
    path.write_text(json.dumps(document))
    return load_suite(path)


def execute(home: Path, fleet: Path, sop: str, **inputs: Any) -> Trace:
    with in_process(suite(home, fleet, sop), home / "log.jsonl") as executor:
        return executor.execute(Case(id="x", inputs=inputs))


@pytest.mark.parametrize(
    ("sop", "inputs", "report"),
    [
        ("critical-package-review", {"packages": ["permissive", "weak"]}, {"verdict": "unsound"}),
        ("interpreter-support-review", {"end_of_support": {SERIES: "2999-01-01"}}, {"verdict": "supported"}),
        ("package-integrity-review", {"batch_size": 2}, {"verdict": "altered", "distributions": 4, "files": 4}),
        ("software-licence-review", {"group_size": 3}, {"verdict": "rejected", "allowed": 2}),
        (
            "version-drift-review",
            {"package": "copyleft", "approved_version": "2.0"},
            {"verdict": "drifted", "installed": "3.0", "files_intact": True},
        ),
    ],
)
def test_the_result_is_that_of_an_airflow(
    tmp_path: Path, fleet: Path, sop: str, inputs: dict[str, Any], report: dict[str, Any]
) -> None:
    trace = execute(tmp_path, fleet, sop, **inputs)
    assert trace.status == "COMPLETED", trace.failures
    assert {name: trace.outputs["report"][name] for name in report} == report


def test_evidence_is_published_and_withdrawn_as_on_an_airflow(tmp_path: Path, fleet: Path) -> None:
    published, withdrawn = tmp_path / "published", tmp_path / "withdrawn"
    assert execute(tmp_path, fleet, "evidence-publication", folder=str(published)).status == "COMPLETED"
    assert [json.loads(line)["name"] for line in (published / "inventory.jsonl").read_text().splitlines()] == [
        "classified", "copyleft", "permissive", "weak",
    ]  # fmt: skip
    trace = execute(tmp_path, fleet, "evidence-publication", folder=str(withdrawn), minimum_distributions=100)
    assert trace.status == "FAILED"
    assert withdrawn.is_dir()
    assert not (withdrawn / "inventory.jsonl").exists(), "the rollback withdrew it"


def test_the_server_is_started_once_for_many_cases(tmp_path: Path, fleet: Path) -> None:
    starts = tmp_path / "starts"
    server = json.loads(fleet.read_text())["servers"]["python-environment"]
    script = f"echo x >> {starts}; exec {sys.executable} {' '.join(server['args'])}"
    counted = tmp_path / "fleet.yaml"
    counted.write_text(
        json.dumps({"servers": {"python-environment": {**server, "command": "sh", "args": ["-c", script]}}})
    )
    with in_process(suite(tmp_path, counted, "version-drift-review")) as executor:
        case = Case(id="x", inputs={"package": "copyleft", "approved_version": "2.0"})
        assert {executor.execute(case).status for _ in range(5)} == {"COMPLETED"}
    assert starts.read_text().split() == ["x"]


def test_a_server_that_died_is_connected_again(tmp_path: Path) -> None:
    raw = ROOT / "tests" / "runner" / "raw_server.py"
    fleet = tmp_path / "fleet.yaml"
    server = {"transport": "stdio", "command": sys.executable, "args": ["-S", str(raw)]}
    fleet.write_text(json.dumps({"servers": {"raw": server}}))
    (tmp_path / "r.yaml").write_text(
        "sop: r\nversion: 1.0.0\ntitle: R\ndata_sources: {d: {server: raw, tools: [dies, structured]}}\nsteps:\n"
        "  - {id: a, tool: d.dies, retry: {max_retries: 0}}\n  - {id: b, tool: d.structured}\n"
        "  - {id: c, needs: [b], tool: d.structured}\n"
    )
    path = tmp_path / "suite.yaml"
    path.write_text(json.dumps({"suite": "s", "sop": "r.yaml", "fleet": "fleet.yaml", "cases": [{"id": "x"}]}))
    with in_process(load_suite(path)) as executor:
        trace = executor.execute(Case(id="x"))
    assert "mcp-connection-closed" in trace.failures["a"]
    assert trace.outputs["c"] == {"n": 7}


def test_an_unknown_server_is_the_suites_mistake(tmp_path: Path) -> None:
    fleet = tmp_path / "fleet.yaml"
    fleet.write_text("servers: {}\n")
    trace = execute(tmp_path, fleet, "version-drift-review")
    assert "has no server `python-environment`" in trace.failures["installed"]
