"""What a poll costs, and that remembering who called opens nothing for longer than it says."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from airflow import settings
from airflow.api_fastapi.auth.managers.simple.user import SimpleAuthManagerUser
from airflow.models.dag import _team_name_cache as team_cache
from airflow.models.dagbundle import DagBundleModel
from airflow.models.team import Team
from airflow.utils.session import create_session
from fastapi.testclient import TestClient
from sqlalchemy import event

from airflow_sop_provider.api import recent
from airflow_sop_provider.api.recent import USER_SECONDS
from tests.api.test_executions import address, submit


@contextmanager
def statements() -> Iterator[list[str]]:
    """The SQL statements of this process."""
    said: list[str] = []

    def note(_, __, statement, *___) -> None:
        if statement != "SELECT 1":
            said.append(statement)

    event.listen(settings.engine, "before_cursor_execute", note)
    try:
        yield said
    finally:
        event.remove(settings.engine, "before_cursor_execute", note)


def seconds_pass(seconds: float) -> None:
    recent._users.expire(time.monotonic() + seconds)


@pytest.fixture(autouse=True)
def _nothing_is_remembered() -> None:
    recent._users.clear()
    team_cache.clear()


def test_a_poll_is_one_statement(admin, chain) -> None:
    status = f"{address(submit(admin, chain))}/status"
    assert admin.get(status).status_code == 200
    with statements() as said:
        answer = admin.get(status)
    assert (answer.status_code, answer.json()["steps"]) == (200, {"first": "pending", "second": "pending"})
    assert len(said) == 1, said
    assert "context" not in said[0], "kilobytes that no answer needs"


def test_a_revoked_token_is_refused_after_seconds(admin, client, chain) -> None:
    status = f"{address(submit(admin, chain))}/status"
    assert admin.get(status).status_code == 200
    client.app.state.auth_manager.revoke_token(admin.headers["Authorization"].removeprefix("Bearer "))
    seconds_pass(USER_SECONDS + 0.1)
    assert admin.get(status).status_code == 403
    assert admin.get(status).status_code == 403, "a refusal is not remembered as a user"


def test_a_token_that_was_let_in_opens_nothing_for_another(admin, signed_in, chain) -> None:
    status = f"{address(submit(admin, chain))}/status"
    assert admin.get(status).status_code == 200
    assert TestClient(admin.app).get(status).status_code == 401
    assert TestClient(admin.app, headers={"Authorization": "Bearer forged"}).get(status).status_code == 403
    assert TestClient(admin.app, headers={"Authorization": f"Basic {admin.headers['Authorization']}"}).get(
        status
    ).status_code in (401, 403)


def test_the_team_of_a_dag_decides(admin, client, chain) -> None:
    """Another team's executions are not seen, and moving a bundle to another team is noticed."""
    made = submit(admin, chain)
    user = SimpleAuthManagerUser(username="blue", role="viewer", teams=["blue"])
    token = client.app.state.auth_manager.generate_jwt(user)
    blue = TestClient(client.app, headers={"Authorization": f"Bearer {token}"})
    assert blue.get(f"{address(made)}/status").status_code == 200
    with create_session() as session:
        session.get(DagBundleModel, "api").teams = [Team(name="crimson")]
    try:
        team_cache.clear()  # Airflow's own, of seconds
        answer = blue.get(f"{address(made)}/status")
        assert (answer.status_code, answer.json()) == (403, {"detail": "Forbidden"})
        assert blue.get(address(made)).status_code == 403, "as Airflow's own check decides"
        assert admin.get(f"{address(made)}/status").status_code == 200
    finally:
        with create_session() as session:
            session.get(DagBundleModel, "api").teams = []
            session.delete(session.get(Team, "crimson"))


def test_the_decision_itself_is_made_each_time(admin, chain, client, monkeypatch) -> None:
    status = f"{address(submit(admin, chain))}/status"
    assert admin.get(status).status_code == 200
    monkeypatch.setattr(type(client.app.state.auth_manager), "is_authorized_dag", lambda self, **_: False)
    assert admin.get(status).status_code == 403


def test_a_run_that_nobody_has_met_is_opened_by_the_first_poll(admin, chain) -> None:
    from airflow.models.dagrun import DagRun
    from sqlalchemy import delete, select

    from airflow_sop_provider.store.tables import AuditChainRow, AuditEntryRow, ExecutionRow

    made = submit(admin, chain)
    with create_session() as session:
        for table in (AuditEntryRow, AuditChainRow, ExecutionRow):
            session.execute(delete(table))
        assert session.scalar(select(DagRun.id).where(DagRun.run_id == made.json()["run_id"]))
    assert admin.get(f"{address(made)}/status").json()["status"] == "SUBMITTED"
    assert admin.get(f"/api/v1/sops/{chain}/executions/no-such-run/status").status_code == 404
