"""Airflow's own failure callbacks with our notifier: of a DAG (in the dag-processor) and of a task (in a worker)."""

from __future__ import annotations

import hashlib
import hmac
import json
from urllib.parse import urlsplit

from tests.integration.airflow_system import AirflowSystem
from tests.integration.conftest import on_sqlite
from tests.notifications.receiver import SECRET, Receiver, receiver

__all__ = ["receiver"]


@on_sqlite
def test_a_failed_dag_and_its_failed_task_are_told(airflow: AirflowSystem, receiver: Receiver) -> None:
    port = urlsplit(receiver.url).port
    connection = {
        "connection_id": "callbacks", "conn_type": "http", "schema": "http", "host": "127.0.0.1", "port": port,
        "password": SECRET,
    }  # fmt: skip
    assert airflow.request("POST", "/api/v2/connections", json=connection).status_code == 201
    run, state = airflow.run("told")
    assert state == "failed"
    airflow.wait_for(lambda: len(receiver.got) >= 2, "both callbacks")
    told = {path: json.loads(body) for path, _, body in receiver.got}
    assert told.keys() == {"/dag", "/task"}
    assert {(one["kind"], one["sop"], one["run_id"]) for one in told.values()} == {("airflow", "told", run)}
    assert told["/task"]["step"] == "fail"
    for _, headers, body in receiver.got:
        signed = headers["X-SOP-Timestamp"].encode() + b"." + body
        expected = hmac.new(SECRET.encode(), signed, hashlib.sha256).hexdigest()
        assert headers["X-SOP-Signature"] == f"sha256={expected}"
