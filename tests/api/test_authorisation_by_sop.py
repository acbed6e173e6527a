"""With an auth manager that knows single DAGs (FAB): who may not see an SOP sees nothing of its executions."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from airflow.api_fastapi.app import create_auth_manager
from airflow.providers.fab.auth_manager.models import User
from airflow.providers.fab.www.security_appless import ApplessAirflowSecurityManager
from airflow.utils.session import create_session
from fastapi.testclient import TestClient
from sqlalchemy import select

from airflow_sop_provider.runs.reconcile import reconcile
from airflow_sop_provider.store.base import utc_now
from airflow_sop_provider.store.deliveries import spread
from airflow_sop_provider.store.executions import find_execution
from airflow_sop_provider.store.outbox import put
from airflow_sop_provider.store.tables import AlertRow
from tests.api.test_executions import submit
from tests.api.test_metrics import families

V1 = "/api/v1"
FAB = "airflow.providers.fab.auth_manager.fab_auth_manager.FabAuthManager"
SEES_RUNS = [("can_read", "DAG Runs"), ("menu_access", "DAGs")]
STARTS_RUNS = [*SEES_RUNS, ("can_create", "DAG Runs"), ("can_edit", "DAG Runs")]


@pytest.fixture
def run_id(admin: TestClient, chain: str) -> str:
    """An execution with an alert and an escalation, submitted by somebody else."""
    made: str = submit(admin, chain).json()["run_id"]
    reconcile(create_session)
    with create_session() as session:
        row = find_execution(session, chain, made)
        session.add(
            AlertRow(rule="overrun", subject=row.name, execution_id=row.id, level="warning", message="late", details={})
        )
        put(session, "alert", "a:1", {"message": "late"}, execution_id=row.id)
        spread(session, [{"notifier": "x.Y", "kwargs": {}}], utc_now())
    return made


@pytest.fixture
def fab_user(client: TestClient, run_id: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., TestClient]]:
    """Give a client that calls as a user of FAB with a role of these permissions."""
    monkeypatch.setenv("AIRFLOW__CORE__AUTH_MANAGER", FAB)
    manager = create_auth_manager()
    manager.init()
    client.app.state.auth_manager = manager  # type: ignore[attr-defined]

    def make(name: str, *permissions: tuple[str, str]) -> TestClient:
        with create_session() as session:
            security = ApplessAirflowSecurityManager(session=session)
            role = security.add_role(name)
            for action, resource in permissions:
                security.add_permission_to_role(role, security.create_permission(action, resource))
            user = session.scalars(select(User).where(User.username == name)).one_or_none()
            if user is None:
                user = User(
                    username=name, first_name=name, last_name=name, email=f"{name}@example.com", active=True,
                    roles=[role],
                )  # fmt: skip
                session.add(user)
            session.flush()
            token = manager.generate_jwt(user)
        return TestClient(client.app, headers={"Authorization": f"Bearer {token}"})

    yield make
    monkeypatch.undo()
    create_auth_manager()


COUNTS = ("sop_executions", "sop_alerts", "sop_escalations", "sop_attempts", "sop_queue", "sop_duration")
LISTS = {
    "/executions": lambda found: found["executions"],
    "/audit/entries": lambda found: found["entries"],
    "/alerts": lambda found: found,
    "/escalations": lambda found: found,
    "/metrics/summary": lambda found: range(found["counts"]["total"]),
}


def test_who_may_see_the_sop_sees_its_executions(fab_user, chain, run_id) -> None:
    ada = fab_user("ada", ("can_read", f"DAG:{chain}"), *SEES_RUNS)
    for path, of in LISTS.items():
        assert len(of(ada.get(f"{V1}{path}").json())) >= 1, path
    figures = families(ada.get(f"{V1}/metrics"))
    assert figures["sop_alerts_unacknowledged"][()] == figures["sop_escalations"][("pending",)] == 1
    assert ada.get(f"{V1}/sops/{chain}/executions/{run_id}/status").status_code == 200
    assert ada.post(f"{V1}/sops/{chain}/executions", json={}).status_code == 403, "to see is not to start"


def test_who_may_not_see_it_sees_nothing_of_them_anywhere(fab_user, chain, run_id) -> None:
    bob = fab_user("bob", ("can_read", "DAG:another"), *STARTS_RUNS)
    for path, of in LISTS.items():
        assert list(of(bob.get(f"{V1}{path}").json())) == [], path
    figures = families(bob.get(f"{V1}/metrics"))
    counted = {name: set(found.values()) for name, found in figures.items() if name.startswith(COUNTS)}
    assert set().union(*counted.values()) == {0}, counted
    named = {"execution": f"{chain}/{run_id}", "sop": chain}
    assert bob.get(f"{V1}/audit/entries", params=named).json()["entries"] == []
    assert bob.get(f"{V1}/executions", params={"sop": chain}).json()["executions"] == []
    one = f"{V1}/sops/{chain}/executions/{run_id}"
    for path in ("", "/status", "/events", "/export", "/steps/first/attempts.html"):
        assert bob.get(one + path).status_code == 403, path
    assert bob.get(f"{V1}/sops/{chain}/mode").status_code == 403


def test_who_may_not_change_it_changes_nothing(fab_user, chain, run_id) -> None:
    cleo = fab_user("cleo", ("can_read", f"DAG:{chain}"), *STARTS_RUNS)
    assert cleo.post(f"{V1}/sops/{chain}/executions", json={}).status_code == 403, "the DAG may only be read"
    assert cleo.post(f"{V1}/sops/{chain}/executions/{run_id}/cancel", json={}).status_code == 403
    assert cleo.put(f"{V1}/sops/{chain}/mode", json={"mode": "auto"}).status_code == 403
    assert cleo.put(f"{V1}/fleet/snapshots/{chain}", json={"servers": {}}).status_code == 403


def test_who_may_edit_one_sop_starts_that_one(fab_user, chain, run_id) -> None:
    dora = fab_user("dora", ("can_read", f"DAG:{chain}"), ("can_edit", f"DAG:{chain}"), *STARTS_RUNS)
    assert dora.post(f"{V1}/sops/{chain}/executions", json={}).status_code == 201
    assert dora.post(f"{V1}/sops/another/executions", json={}).status_code == 403
