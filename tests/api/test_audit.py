"""The audit log over HTTP, and its upkeep, on Airflow's own auth manager and database."""

from __future__ import annotations

import pytest
from airflow.sdk import ObjectStoragePath
from airflow.utils.session import create_session
from sqlalchemy import select, update

from airflow_sop_provider.airflow_settings import read_settings
from airflow_sop_provider.api.audit_job import keep_audit_log, signing_key
from airflow_sop_provider.audit.verify import verify_path
from airflow_sop_provider.runs.reconcile import reconcile
from airflow_sop_provider.store.audit_keys import KeyFileError
from airflow_sop_provider.store.tables import AuditChainRow, AuditDigestRow, AuditEntryRow, OutboxRow

V1 = "/api/v1"
PATHS = (
    ("GET", "/audit/entries"), ("GET", "/audit/digests"), ("GET", "/audit/public-key"), ("GET", "/audit/holds"),
    ("POST", "/audit/holds"), ("DELETE", "/audit/holds/1"), ("GET", "/sops/api-chain/executions/x/export"),
)  # fmt: skip


@pytest.fixture(autouse=True)
def places(tmp_path, monkeypatch):
    monkeypatch.setenv("AIRFLOW__SOP__AUDIT_KEY_FILE", str(tmp_path / "keys" / "audit.key"))
    monkeypatch.setenv("AIRFLOW__SOP__AUDIT_DIGEST_FOLDER", f"file://{tmp_path}/digests")


def submitted(admin, chain: str) -> str:
    answer = admin.post(f"{V1}/sops/{chain}/executions", json={})
    assert answer.status_code < 300, answer.text
    reconcile(create_session)
    return answer.json()["run_id"]


@pytest.mark.parametrize(("method", "path"), PATHS)
def test_nobody_gets_nothing(client, method, path):
    body = {"json": {"reason": "x"}} if method == "POST" else {}
    assert client.request(method, V1 + path, **body).status_code == 401


@pytest.mark.parametrize("role", ["viewer", "user"])
def test_holds_and_the_engines_own_chains_are_for_who_may_change_the_configuration(signed_in, role):
    caller = signed_in(role)
    assert caller.get(f"{V1}/audit/holds").status_code == 403
    assert caller.post(f"{V1}/audit/holds", json={"reason": "x"}).status_code == 403
    assert caller.delete(f"{V1}/audit/holds/1").status_code == 403
    assert caller.get(f"{V1}/audit/entries", params={"execution": "~holds"}).status_code == 403
    assert caller.get(f"{V1}/audit/public-key").status_code == 200


def test_entries_are_found_page_by_page(admin, chain):
    run_id = submitted(admin, chain)
    wanted = {"execution": f"{chain}/{run_id}", "sop": chain, "limit": 1, "kind": "start"}
    page = admin.get(f"{V1}/audit/entries", params=wanted).json()
    (entry,) = page["entries"]
    assert (entry["kind"], entry["seq"], page["cursor"]) == ("start", 1, None)
    assert admin.get(f"{V1}/audit/entries", params={"sop": "other"}).json() == {"entries": [], "cursor": None}
    assert admin.get(f"{V1}/audit/entries", params={"cursor": "x"}).status_code == 400
    assert admin.get(f"{V1}/audit/entries", params={"limit": 0}).status_code == 422


def test_an_export_verifies_with_the_published_key(admin, chain, tmp_path):
    run_id = submitted(admin, chain)
    answer = admin.get(f"{V1}/sops/{chain}/executions/{run_id}/export")
    assert answer.status_code == 200
    (tmp_path / "x.zip").write_bytes(answer.content)
    key = admin.get(f"{V1}/audit/public-key").json()
    report = verify_path(tmp_path / "x.zip", key=bytes.fromhex(key["key"]))
    assert (report.problems, report.digests) == ([], 1)
    (digest,) = admin.get(f"{V1}/audit/digests").json()["digests"]
    assert (digest["number"], digest["key_id"]) == (1, key["id"])
    assert admin.get(f"{V1}/sops/{chain}/executions/none/export").status_code == 404


def test_a_hold_is_placed_listed_and_released(admin, chain):
    made = admin.post(f"{V1}/audit/holds", json={"reason": "a lawsuit", "sop": chain})
    assert made.status_code == 201
    (hold,) = admin.get(f"{V1}/audit/holds").json()["holds"]
    assert (hold["sop"], hold["placed_by"], hold["released_at"]) == (chain, "admin", None)
    assert admin.delete(f"{V1}/audit/holds/{hold['id']}").status_code == 204
    assert admin.delete(f"{V1}/audit/holds/{hold['id']}").status_code == 404
    assert admin.post(f"{V1}/audit/holds", json={"reason": "x", "run_id": "r"}).status_code == 422
    entries = admin.get(f"{V1}/audit/entries", params={"execution": "~holds"}).json()["entries"]
    assert [entry["kind"] for entry in entries] == ["hold", "hold"]


def test_the_job_signs_and_writes_to_the_second_place(admin, chain, tmp_path):
    for _ in range(2):
        submitted(admin, chain)
        keep_audit_log(create_session)
    keep_audit_log(create_session)
    report = verify_path(tmp_path / "digests", key=signing_key(read_settings()).public)
    assert (report.problems, report.digests) == ([], 2)
    with create_session() as session:
        places = set(session.scalars(select(AuditDigestRow.written_to)))
    assert places == {str(ObjectStoragePath(f"file://{tmp_path}/digests"))}


def test_a_digest_that_was_not_written_is_written_in_the_next_turn(admin, chain, tmp_path, monkeypatch):
    submitted(admin, chain)
    (tmp_path / "digests").write_text("in the way")
    with pytest.raises(OSError, match="digests"):
        keep_audit_log(create_session)
    (tmp_path / "digests").unlink()
    keep_audit_log(create_session)
    assert verify_path(tmp_path / "digests").digests == 1


def test_a_broken_chain_is_escalated(admin, chain):
    run_id = submitted(admin, chain)
    with create_session() as session:
        own = select(AuditChainRow.id).where(AuditChainRow.name == f"{chain}/{run_id}").scalar_subquery()
        session.execute(update(AuditEntryRow).where(AuditEntryRow.chain_id == own).values(message="forged"))
    keep_audit_log(create_session)
    with create_session() as session:
        (payload,) = session.scalars(select(OutboxRow.payload).where(OutboxRow.kind == "audit-broken"))
    assert (payload["chain"], payload["seq"]) == (f"{chain}/{run_id}", 1)


def test_a_key_of_the_configuration_needs_no_file(monkeypatch, tmp_path):
    monkeypatch.setenv("AIRFLOW__SOP__AUDIT_SIGNING_KEY", "ab" * 32)
    settings = read_settings()
    assert signing_key(settings).id
    assert not (tmp_path / "keys").exists()
    assert "abab" not in repr(settings)
    monkeypatch.setenv("AIRFLOW__SOP__AUDIT_SIGNING_KEY", "xx")
    with pytest.raises(KeyFileError):
        signing_key(read_settings())
