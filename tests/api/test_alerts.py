"""Alerts over HTTP, raised by the job on Airflow's database."""

from __future__ import annotations

from datetime import timedelta

import pytest
from airflow.utils.session import create_session

from airflow_sop_provider.engine.execution_state import ExecutionStatus
from airflow_sop_provider.runs.overrun import find_overruns
from airflow_sop_provider.runs.reconcile import reconcile
from airflow_sop_provider.store.base import utc_now
from airflow_sop_provider.store.executions import find_execution, set_status

V1 = "/api/v1"


@pytest.fixture
def late(admin, chain) -> str:
    """Run id of an execution that has been running for an hour instead of a minute."""
    run_id = admin.post(f"{V1}/sops/{chain}/executions", json={}).json()["run_id"]
    reconcile(create_session)
    with create_session() as session:
        row = find_execution(session, chain, run_id)
        row.expected_seconds = 60
        session.flush()
        set_status(session, row, ExecutionStatus.RUNNING, "began", at=utc_now() - timedelta(hours=1))
    return run_id


def test_what_takes_too_long_is_listed_once_and_acknowledged(late, admin, signed_in, chain) -> None:
    assert find_overruns(create_session) == 1
    assert find_overruns(create_session) == 0
    [alert] = admin.get(f"{V1}/alerts", params={"acknowledged": False}).json()
    assert (alert["sop"], alert["run_id"], alert["rule"]) == (chain, late, "overrun")
    path = f"{V1}/sops/{chain}/alerts/{alert['id']}/acknowledge"
    assert signed_in("viewer").post(path).status_code == 403
    assert admin.post(f"{V1}/sops/another/alerts/{alert['id']}/acknowledge").status_code == 404
    assert admin.post(path).json()["acknowledged_by"] == "admin"
    assert admin.get(f"{V1}/alerts", params={"acknowledged": False}).json() == []
    with create_session() as session:
        assert find_execution(session, chain, late).flagged


def test_one_that_cannot_be_looked_at_keeps_nobody_from_the_others(late, monkeypatch, caplog) -> None:
    def broken(*_: object) -> bool:
        raise RuntimeError("cannot")

    with monkeypatch.context() as patch:
        patch.setattr("airflow_sop_provider.runs.overrun.flag", broken)
        assert find_overruns(create_session) == 0
    assert find_overruns(create_session) == 1


def test_nobody_gets_nothing(client, chain) -> None:
    assert client.get(f"{V1}/alerts").status_code == 401
    assert client.post(f"{V1}/sops/{chain}/alerts/1/acknowledge").status_code == 401
