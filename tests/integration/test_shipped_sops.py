"""Every SOP that ships, on a real Airflow, over an environment whose answers the test knows.

The same SOPs, executor and MCP server as in `make run`; only the environment that the server describes
is planted, so that a modified file, a forbidden licence and a failed publication are there to be found.
"""

from __future__ import annotations

import json
import platform
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cli.test_shipped_sops import install
from tests.integration.airflow_system import AirflowSystem
from tests.integration.conftest import on_sqlite
from tools.dev.environment import ROOT

SHIPPED = [path.stem for path in sorted((ROOT / "sops").glob("*.yaml"))]


@pytest.fixture
def site(airflow: AirflowSystem, tmp_path: Path) -> Iterator[Path]:
    """The environment that python-environment describes meanwhile."""
    site = tmp_path / "site-packages"
    site.mkdir()
    install(site, "permissive", "License-Expression: MIT")
    install(site, "classified", "Classifier: License :: OSI Approved :: BSD License")
    install(site, "copyleft", "License-Expression: AGPL-3.0-only", version="3.0")
    install(site, "weak", "License-Expression: MPL-2.0").write_text("NAME = 'not weak'\n")
    server = {
        "transport": "stdio",
        "command": "python",
        "args": ["-m", "airflow_sop_provider.fleet.servers.python_environment", "--path", str(site)],
        "timeout": 300,
    }
    ours = airflow.instance.fleet
    before = ours.read_text()
    ours.write_text(json.dumps({"servers": {"python-environment": server}}))
    shutil.copy(ROOT / "models.yaml", ours.with_name("models.yaml"))  # the model of package-brief is a script there
    yield site
    ours.with_name("models.yaml").unlink()
    ours.write_text(before)


@on_sqlite
def test_each_of_them_comes_to_the_result_of_an_independent_computation(
    airflow: AirflowSystem, site: Path, tmp_path: Path
) -> None:
    published, withdrawn = tmp_path / "published", tmp_path / "withdrawn"
    series = ".".join(platform.python_version_tuple()[:2])
    inputs: list[tuple[str, dict[str, Any], str]] = [
        ("critical-package-review", {"packages": ["permissive", "weak"]}, "success"),
        ("dependency-exception-signoff", {"package": "classified"}, "success"),
        ("evidence-publication", {"folder": str(published)}, "success"),
        ("evidence-publication", {"folder": str(withdrawn), "minimum_distributions": 100}, "failed"),
        ("interpreter-support-review", {"end_of_support": {series: "2999-01-01"}}, "success"),
        ("package-brief", {"package": "weak"}, "success"),
        ("package-integrity-review", {"batch_size": 2}, "success"),
        ("software-licence-review", {"group_size": 3}, "success"),
        ("version-drift-review", {"package": "copyleft", "approved_version": "2.0"}, "success"),
    ]
    assert {sop for sop, _, _ in inputs} == set(SHIPPED)
    for sop in SHIPPED:
        shutil.copy(ROOT / "sops" / f"{sop}.yaml", airflow.instance.sops)
    runs = [(sop, airflow.trigger(sop, **conf), state) for sop, conf, state in inputs]
    reports: dict[str, Any] = {}
    signed = next(run for sop, run, _ in runs if sop == "dependency-exception-signoff")
    airflow.wait_for_step("dependency-exception-signoff", signed, "sign_off", "awaiting_input")
    request = f"/api/v2/dags/dependency-exception-signoff/dagRuns/{signed}/taskInstances/sign_off/-1/hitlDetails"
    answer = {"chosen_options": ["Approve"], "params_input": {"comment": "until May", "meaning": "I answer for it"}}
    assert airflow.request("PATCH", request, json=answer).is_success
    for sop, run, state in runs:
        assert airflow.wait_for_run(sop, run, seconds=900) == state, sop
        reports[sop] = airflow.api.outputs(sop, run, "agent" if sop == "package-brief" else "report")

    critical = reports["critical-package-review"]
    assert critical["verdict"] == "unsound", "a file of weak was modified"
    assert [json.loads(line)["name"] for line in (published / "inventory.jsonl").read_text().splitlines()] == [
        "classified", "copyleft", "permissive", "weak",
    ]  # fmt: skip
    assert withdrawn.is_dir()
    assert not (withdrawn / "inventory.jsonl").exists(), "the rollback withdrew it"
    assert reports["interpreter-support-review"]["verdict"] == "supported"
    exception = reports["dependency-exception-signoff"]
    assert (exception["verdict"], exception["version"], exception["files_intact"]) == ("exception granted", "1.0", True)
    assert (exception["signed_by"], exception["comment"]) == (["admin"], "until May")
    brief = reports["package-brief"]["steps"]
    assert list(brief) == ["interpreter", "licences", "files", "brief"], "one agent did every step, in order"
    assert brief["brief"]["text"].startswith("weak 1.0 "), brief["brief"]
    integrity = reports["package-integrity-review"]
    assert (integrity["verdict"], integrity["distributions"], integrity["files"]) == ("altered", 4, 4)
    assert [(found["name"], found["mismatched"]) for found in integrity["mismatched"]] == [("weak", ["weak.py"])]
    licences = reports["software-licence-review"]
    assert (licences["verdict"], licences["allowed"]) == ("rejected", 2)
    assert [package["name"] for package in licences["denied"]] == ["copyleft"]
    assert [package["name"] for package in licences["needs_review"]] == ["weak"]
    drift = reports["version-drift-review"]
    assert (drift["verdict"], drift["installed"], drift["files_intact"]) == ("drifted", "3.0", True)
