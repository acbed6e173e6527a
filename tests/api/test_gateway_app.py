"""The gateway as a service of its own: the same answers as in the API server, from a process that is nothing else."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from airflow.utils.session import create_session
from sqlalchemy import select
from sqlalchemy.exc import OperationalError
from starlette.testclient import TestClient

from airflow_sop_provider.api import gateway_app
from airflow_sop_provider.api.runner_auth import signing_key
from airflow_sop_provider.engine.runner_tokens import runner_token
from airflow_sop_provider.runner.failures import StepFailureError
from airflow_sop_provider.runner.gateway_call import gateway_from
from airflow_sop_provider.store.attempts import AttemptBegin, begin_attempt
from airflow_sop_provider.store.executions import open_execution
from airflow_sop_provider.store.tables import AuditEntryRow
from tests.store.facts import attempt_key, context_of, run_facts

SOURCES = {"python": {"server": "python-environment", "tools": ["licences"]}}
FLEET = {
    "servers": {
        "python-environment": {
            "transport": "stdio", "command": sys.executable,
            "args": ["-m", "airflow_sop_provider.fleet.servers.python_environment"],
        }
    }
}  # fmt: skip


@pytest.fixture
def token_file(empty_tables: None, tmp_path: Path) -> Path:
    key = attempt_key()
    with create_session() as session:
        execution = open_execution(session, run_facts(), context_of())
        begin_attempt(session, execution, AttemptBegin(key=key, kind="step", data_sources=SOURCES))
    path = tmp_path / "token"
    path.write_text(runner_token(key, signing_key(), timeout_seconds=300, now=datetime.now(UTC)))
    return path


@pytest.fixture
def service(airflow_database: None, tmp_path: Path) -> Iterator[str]:
    """Address of a `sop fleet serve` on this database."""
    (tmp_path / "fleet.yaml").write_text(json.dumps(FLEET))
    command = [str(Path(sys.executable).with_name("sop")), "fleet", "serve", "--port", "0"]
    environment = {
        **os.environ,
        "AIRFLOW__SOP__FLEET_FILE": str(tmp_path / "fleet.yaml"),
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": _database(),
        "AIRFLOW__API_AUTH__JWT_SECRET": _jwt_secret(),
    }
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen(command, stderr=log, stdout=log, env=environment)
        try:
            yield _address(process, tmp_path / "log")
        finally:
            process.send_signal(signal.SIGTERM)
            ended = process.wait(60)
    assert ended in (0, -signal.SIGTERM), (tmp_path / "log").read_text()
    assert "Application shutdown complete" in (tmp_path / "log").read_text()


def _database() -> str:
    from airflow.configuration import conf

    return str(conf.get("database", "sql_alchemy_conn"))


def _jwt_secret() -> str:
    from airflow.configuration import conf

    return str(conf.get("api_auth", "jwt_secret"))


def _address(process: subprocess.Popen[bytes], log: Path) -> str:
    for _ in range(1200):
        if found := [line for line in log.read_text().splitlines() if "running on http://" in line]:
            return found[0].partition("running on ")[2].split()[0]
        assert process.poll() is None, log.read_text()
        time.sleep(0.1)
    raise AssertionError(log.read_text())


def test_a_step_calls_a_tool_through_a_gateway_that_is_no_part_of_the_api_server(service, token_file):
    assert json.loads(urllib.request.urlopen(f"{service}/health", timeout=30).read()) == {"status": "ok"}
    environment = {
        "SOP_ENGINE_URL": "http://127.0.0.1:9/sop",
        "SOP_FLEET_URL": f"{service}/fleet",
        "SOP_ENGINE_TOKEN_FILE": str(token_file),
    }
    gateway = gateway_from(environment)
    assert gateway is not None
    found = gateway.call("python-environment", "licences", {"names": ["PyYAML"]}, 60.0, 0)
    assert "MIT" in json.dumps(found)
    with create_session() as session:
        (entry,) = session.scalars(select(AuditEntryRow).where(AuditEntryRow.kind == "data.access"))
        assert entry.component == "fleet"
    with pytest.raises(StepFailureError, match="python_info"):
        gateway.call("python-environment", "python_info", {}, 60.0, 0)
    token_file.write_text(token_file.read_text()[:-4] + "AAAA")
    with pytest.raises(StepFailureError, match="token"):
        gateway.call("python-environment", "licences", {}, 60.0, 0)
    for path in ("/sop/api/v1/executions", "/api/v2/dags", "/docs"):
        with pytest.raises(urllib.error.HTTPError, match="404"):
            urllib.request.urlopen(service + path, timeout=30)


def test_health_says_when_the_database_is_away(airflow_database, monkeypatch):
    def away() -> None:
        raise OperationalError("SELECT 1", {}, Exception("secret of the connection"))

    client = TestClient(gateway_app.create_gateway_app())
    assert client.get("/health").status_code == 200
    monkeypatch.setattr(gateway_app, "_ask", away)
    answer = client.get("/health")
    assert answer.status_code == 503
    assert "secret" not in answer.text
