"""Escalations are delivered by real notifiers to a real server, whoever is killed in between."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest
from airflow.utils.session import create_session
from sqlalchemy import select, update

from airflow_sop_provider.airflow_settings import EscalationSettings, SettingsError, escalation_settings
from airflow_sop_provider.api.audit_job import keep_audit_log
from airflow_sop_provider.api.escalating import Dispatcher, dispatch
from airflow_sop_provider.runs.reconcile import reconcile
from airflow_sop_provider.store.base import utc_now
from airflow_sop_provider.store.deliveries import claim, spread
from airflow_sop_provider.store.executions import find_execution
from airflow_sop_provider.store.outbox import put
from airflow_sop_provider.store.tables import AuditChainRow, AuditEntryRow, DeliveryRow
from tests.notifications.receiver import SECRET, Receiver, receiver

__all__ = ["receiver"]

WEBHOOK = {
    "notifier": "airflow_sop_provider.notifications.webhook.WebhookNotifier",
    "kwargs": {"conn_id": "ops", "path": "/{{ kind }}"},
}
SETTINGS = EscalationSettings(channels=(WEBHOOK,), tries=3)


@pytest.fixture
def fact(admin, chain) -> str:
    """A fact about an execution, stored and not told yet."""
    made = admin.post(f"/api/v1/sops/{chain}/executions", json={}).json()
    reconcile(create_session)
    with create_session() as session:
        row = find_execution(session, chain, made["run_id"])
        put(session, "failure", "f:1", {"message": "post failed"}, execution_id=row.id)
    return "f:1"


def later(seconds: float):
    return lambda: utc_now() + timedelta(seconds=seconds)


def test_a_fact_is_told_once(fact, receiver: Receiver) -> None:
    assert Dispatcher(create_session, SETTINGS).turn() == 1
    assert Dispatcher(create_session, SETTINGS, later(999)).turn() == 0
    [(path, _, body)] = receiver.got
    assert path == "/failure", "arguments are templates over the message"
    assert json.loads(body) == {"message": "post failed", "kind": "failure", "id": fact}


def test_whoever_was_killed_before_telling_is_followed_by_another(fact, receiver: Receiver) -> None:
    with create_session() as session:
        spread(session, [WEBHOOK], utc_now())
    with create_session() as session:
        assert claim(session, utc_now(), per_minute=9) is not None  # and nothing more is heard of it
    assert Dispatcher(create_session, SETTINGS).turn() == 0
    assert Dispatcher(create_session, SETTINGS, later(130)).turn() == 1
    assert len(receiver.got) == 1


def test_a_channel_that_fails_is_tried_again_given_up_and_listed(fact, receiver: Receiver, admin, chain) -> None:
    receiver.status = 500
    for at in (0, 0.5, 10, 20, 999):
        Dispatcher(create_session, SETTINGS, later(at)).turn()
    assert len(receiver.got) == 3
    [dead] = admin.get("/api/v1/escalations", params={"state": "dead"}).json()
    assert (dead["sop"], dead["kind"], dead["tries"], dead["message"]) == (chain, "failure", 3, "post failed")
    assert "answered 500" in dead["last_error"]
    assert "conn_id" not in str(dead)
    assert admin.get("/api/v1/escalations", params={"state": "pending"}).json() == []


@pytest.mark.parametrize(
    ("notifier", "problem"), [("os.getcwd", "NotANotifierError"), ("no.such.Thing", "ModuleNotFoundError")]
)
def test_what_is_no_notifier_is_not_called(fact, notifier, problem) -> None:
    Dispatcher(create_session, EscalationSettings(channels=({"notifier": notifier, "kwargs": {}},))).turn()
    with create_session() as session:
        assert problem in session.scalars(select(DeliveryRow.last_error)).one()


def test_the_site_names_channels_in_its_configuration(fact, receiver: Receiver, monkeypatch) -> None:
    monkeypatch.setenv("AIRFLOW__SOP__ESCALATION_CHANNELS", json.dumps([WEBHOOK]))
    assert dispatch(create_session) == 1
    with create_session() as session:
        assert SECRET not in str(session.scalars(select(DeliveryRow.target)).one())


@pytest.mark.parametrize("text", ["{", '{"a": 1}', '[{"kwargs": {}}]', '[{"notifier": "x.Y", "to": 1}]'])
def test_channels_that_cannot_be_read_are_an_error_that_says_so(monkeypatch, text) -> None:
    monkeypatch.setenv("AIRFLOW__SOP__ESCALATION_CHANNELS", text)
    with pytest.raises(SettingsError, match=r"escalation_channels.*JSON list"):
        escalation_settings()


def test_what_is_about_no_execution_is_listed_for_who_may_configure_airflow(admin, signed_in, receiver) -> None:
    receiver.status = 500
    with create_session() as session:
        put(session, "audit.broken", "b:1", {"chain": "~engine", "message": "Entry 3 was changed."})
    for at in (0, 10, 20):
        Dispatcher(create_session, SETTINGS, later(at)).turn()
    [dead] = admin.get("/api/v1/escalations", params={"state": "dead"}).json()
    assert (dead["sop"], dead["run_id"], dead["message"]) == (None, None, "Entry 3 was changed.")
    assert signed_in("op").get("/api/v1/escalations").json() != []
    assert signed_in("user").get("/api/v1/escalations").json() == []


def test_a_broken_chain_of_an_execution_is_told_as_one_of_it(admin, chain, receiver, monkeypatch, tmp_path) -> None:
    monkeypatch.setenv("AIRFLOW__SOP__AUDIT_KEY_FILE", str(tmp_path / "audit.key"))
    monkeypatch.setenv("AIRFLOW__SOP__AUDIT_DIGEST_FOLDER", str(tmp_path / "digests"))
    made = admin.post(f"/api/v1/sops/{chain}/executions", json={}).json()
    reconcile(create_session)
    name = f"{chain}/{made['run_id']}"
    with create_session() as session:
        own = session.scalars(select(AuditChainRow.id).where(AuditChainRow.name == name)).one()
        session.execute(update(AuditEntryRow).where(AuditEntryRow.chain_id == own).values(message="forged"))
    keep_audit_log(create_session)
    keep_audit_log(create_session)
    assert Dispatcher(create_session, SETTINGS).turn() == 1, "and once, however often it is looked at"
    said = json.loads(receiver.got[0][2])
    assert (said["execution"], said["sop"], said["run_id"]) == (name, chain, made["run_id"])
    [listed] = admin.get("/api/v1/escalations").json()
    assert (listed["sop"], listed["state"]) == (chain, "delivered")


def test_nobody_sees_nothing(client) -> None:
    assert client.get("/api/v1/escalations").status_code == 401
