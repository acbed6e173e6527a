"""Alerts over HTTP, raised by the job on Airflow's database."""

from __future__ import annotations

from datetime import timedelta

import pytest
from airflow.models.dagrun import DagRun
from airflow.utils.session import create_session
from sqlalchemy import select

from airflow_sop_provider.airflow_settings import SettingsError
from airflow_sop_provider.engine.execution_state import ExecutionStatus
from airflow_sop_provider.runs.overrun import find_overruns
from airflow_sop_provider.runs.reconcile import reconcile
from airflow_sop_provider.store.base import utc_now
from airflow_sop_provider.store.executions import find_execution, set_status
from airflow_sop_provider.store.tables import OutboxRow

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


def test_one_that_ended_while_nothing_of_ours_was_running_is_told_once(late, admin, chain) -> None:
    """Neither scheduler nor API server was up when it was over time, nor when it ended; both come back later."""
    with create_session() as session:
        run = session.scalars(select(DagRun).where(DagRun.dag_id == chain, DagRun.run_id == late)).one()
        run.state, run.end_date = "success", utc_now() - timedelta(minutes=30)
    reconcile(create_session)
    assert find_overruns(create_session) == 1
    assert find_overruns(create_session) == 0
    [alert] = [one for one in admin.get(f"{V1}/alerts").json() if one["run_id"] == late]
    assert "took 1800 s; 60 s were expected" in alert["message"]
    assert len([one for one in outbox() if (one.kind, one.payload["run_id"]) == ("alert", late)]) == 1


def test_the_sites_rule_is_read_at_each_turn(late, monkeypatch) -> None:
    monkeypatch.setenv("AIRFLOW__SOP__ALERT_FACTOR", "100")
    assert find_overruns(create_session) == 0, "an hour is no hundred minutes"
    monkeypatch.setenv("AIRFLOW__SOP__ALERT_FACTOR", "50")
    assert find_overruns(create_session) == 1
    monkeypatch.setenv("AIRFLOW__SOP__ALERT_FACTOR", "0.5")
    with pytest.raises(SettingsError, match="alert_factor"):
        find_overruns(create_session)


def outbox() -> list[OutboxRow]:
    with create_session() as session:
        return list(session.scalars(select(OutboxRow)))


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
