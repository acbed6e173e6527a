"""The database restarts under a running Airflow: what a user sees meanwhile, and that nothing is lost or done twice."""

from __future__ import annotations

import time
from pathlib import Path
from urllib.parse import quote

import httpx

from tests.integration.airflow_system import FINAL, AirflowSystem
from tests.integration.audit_of import verified_entries
from tests.integration.conftest import on_postgres
from tools.dev.instance import ADMIN


@on_postgres
def test_the_database_is_killed_and_restarted_while_steps_run(airflow: AirflowSystem, tmp_path: Path) -> None:
    assert airflow.postgres is not None
    traces = {}
    for number in range(4):
        trace = tmp_path / f"trace-{number}"
        trace.touch()
        traces[airflow.trigger("sleeper", trace=str(trace), seconds=10)] = trace
    airflow.wait_for(lambda: all("start" in trace.read_text() for trace in traces.values()), "all commands to begin")
    status = f"{airflow.instance.url}/sop/api/v1/sops/sleeper/executions/{quote(next(iter(traces)), safe='')}/status"
    token = airflow.request("POST", "/auth/token", json={"username": ADMIN, "password": airflow.instance.password})
    headers = {"Authorization": f"Bearer {token.json()['access_token']}"}
    assert httpx.get(status, headers=headers, timeout=60).status_code == 200

    airflow.postgres.shut_down()
    answer = httpx.get(status, headers=headers, timeout=60)
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "2"), answer.text
    assert "does not answer" in answer.json()["detail"]
    time.sleep(5)
    airflow.postgres.start()

    limit = time.monotonic() + 400
    while not all(_state(airflow, run) in FINAL for run in traces):
        airflow.start_what_ended()  # Airflow's scheduler ends when its database does
        assert time.monotonic() < limit
        time.sleep(1)
    for run, trace in traces.items():
        assert airflow.wait_for_run("sleeper", run) == "success"
        assert [line.split()[0] for line in trace.read_text().splitlines()] == ["start", "end"]
        entries = verified_entries(airflow, "sleeper", run, tmp_path)
        steps = [entry.kind for entry in entries if entry.step == "sleep"]
        assert steps == ["attempt.begin", "action", "attempt.end"]
    airflow.start_what_ended()


def _state(airflow: AirflowSystem, run: str) -> str:
    try:
        return airflow.api.run_state("sleeper", run)
    except Exception:  # whatever Airflow's own API says while its database is away
        return "unknown"
