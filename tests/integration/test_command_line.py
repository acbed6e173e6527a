"""`sop watch`, `logs`, `metrics` and `audit list` as programs, against a real Airflow and executions that ran on it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from tests.integration.airflow_system import AirflowSystem
from tests.integration.begun import Begun
from tests.integration.conftest import on_sqlite
from tools.dev.instance import ADMIN


def sop(airflow: AirflowSystem, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {
        **os.environ, "SOP_URL": airflow.instance.url, "SOP_USER": ADMIN, "SOP_PASSWORD": airflow.instance.password,
    }  # fmt: skip
    command = [Path(sys.executable).with_name("sop"), *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


@on_sqlite
def test_an_execution_is_followed_to_its_end_and_read(airflow: AirflowSystem, begun: Begun) -> None:
    execution = begun["talk"]
    name = f"{execution.sop}/{execution.run}"
    watched = sop(airflow, "watch", name, "--timeout", "3m")
    assert watched.returncode == 0, watched.stderr
    assert "COMPLETED  100%" in watched.stdout.splitlines()[-1]
    log = sop(airflow, "logs", name, "talk", "--follow")
    assert log.returncode == 0, log.stderr
    events = [line.split("  ")[-1].strip() for line in log.stdout.splitlines()]
    assert [event for event in events if event.startswith("line-")] == [f"line-{n}" for n in range(1, 3001)]
    entries = json.loads(sop(airflow, "audit", "list", "--execution", name, "--json").stdout)["entries"]
    assert {"start", "attempt.begin", "attempt.end", "completion"} <= {entry["kind"] for entry in entries}


@on_sqlite
def test_a_failed_one_is_exit_code_1_and_among_the_figures(airflow: AirflowSystem, begun: Begun) -> None:
    execution = begun["permanent"]
    assert sop(airflow, "watch", f"{execution.sop}/{execution.run}").returncode == 1
    found = json.loads(sop(airflow, "metrics", "--since", "1h", "--json").stdout)
    assert found["counts"]["failed"] >= 1
    assert found["errors"]["permanent"] >= 1
    assert found["cpu_seconds"] > 0
