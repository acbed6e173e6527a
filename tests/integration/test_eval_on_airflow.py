"""`sop eval --airflow`: the cases of a suite are executions of a real Airflow, and score the same as in process."""

from __future__ import annotations

import json
from pathlib import Path

from click.testing import CliRunner

from airflow_sop_provider.cli.app import app
from tests.integration.airflow_system import SOPS, AirflowSystem
from tests.integration.conftest import on_sqlite
from tools.dev.instance import ADMIN

CASES = [
    {"id": "twenty", "inputs": {"number": 20}, "expect": {"outputs": {"report.text": "the answer is 42"}}},
    {"id": "zero", "inputs": {"number": 0}, "expect": {"outputs": {"add.value": 2}}},
    {"id": "wrong", "inputs": {"number": 1}, "expect": {"outputs": {"add.value": 5}}},
]


@on_sqlite
def test_cases_run_as_executions_and_score_as_they_do_in_process(airflow: AirflowSystem, tmp_path: Path) -> None:
    (tmp_path / "cases.jsonl").write_text("".join(json.dumps(case) + "\n" for case in CASES))
    suite = tmp_path / "chain.yaml"
    suite.write_text(f"suite: chain\nsop: {SOPS / 'compute-chain.yaml'}\ncases_file: cases.jsonl\n")
    environment = {"SOP_AIRFLOW_USER": ADMIN, "SOP_AIRFLOW_PASSWORD": airflow.instance.password}
    found = {}
    for where in ([], ["--airflow", airflow.instance.url]):
        command = ["eval", str(suite), "--json", "--results", str(tmp_path / f"results-{len(where)}"), *where]
        done = CliRunner().invoke(app, command, env=environment, standalone_mode=False)
        assert done.exception is None, done.output
        found[bool(where)] = json.loads(done.stdout)
    here, there = found[False], found[True]
    assert [case["id"] for case in there["cases"]] == ["twenty", "zero", "wrong"]
    assert [case["success"] for case in there["cases"]] == [True, True, False]
    for name in ("task_success", "execution_completion"):
        assert there["summary"][name] == here["summary"][name]
    runs = [case["execution"] for case in there["cases"]]
    assert all(airflow.api.run_state("compute-chain", run) == "success" for run in runs)
