"""The mode of a control over HTTP: compatibility first, then the document, and a record that tells who and why."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
from airflow.dag_processing.dagbag import BundleDagBag, sync_bag_to_db
from airflow.models.dag import DagModel
from airflow.models.dagbundle import DagBundleModel
from airflow.utils.session import create_session
from click.testing import CliRunner
from sqlalchemy import select

from airflow_sop_provider.bundles.sop_bundle import SopBundle
from airflow_sop_provider.cli.app import app
from airflow_sop_provider.runs.reconcile import reconcile
from airflow_sop_provider.store.mode_changes import mode_chain
from tests.api.conftest import SOP
from tests.client.conftest import call_sop, token, url
from tests.store.facts import entries_of

__all__ = ["token", "url"]

FAN_IN = """\
# who changes this file keeps its comments
sop: {name}
version: 1.0.0
title: Two into one
steps:
  - id: a
    compute: {{value: "1"}}
  - id: b
    compute: {{value: "2"}}
  - id: c
    needs: [a, b]
    compute: {{value: "3"}}
"""


@pytest.fixture
def document(chain: str) -> Iterator[Path]:
    """The chain's document, as it was before and after the test."""
    with create_session() as session:
        path = Path(session.scalar(select(DagModel.fileloc).where(DagModel.dag_id == chain)) or "")
    before = path.read_text()
    yield path
    path.write_text(before)


def test_a_change_is_in_the_document_and_in_the_audit_log(admin, chain, document) -> None:
    before = admin.get(f"/api/v1/sops/{chain}/mode").json()
    assert (before["mode"], before["runs_as"], before["changes"]) == ("auto", "system_design", [])
    answer = admin.put(f"/api/v1/sops/{chain}/mode", json={"mode": "agent_centric", "reason": "a trial"})
    assert (answer.status_code, answer.json()["runs_as"]) == (200, "agent_centric")
    assert "mode: agent_centric" in document.read_text()
    change = admin.get(f"/api/v1/sops/{chain}/mode").json()["changes"][0]
    assert (change["old_mode"], change["new_mode"], change["changed_by"], change["reason"]) == (
        "auto", "agent_centric", "admin", "a trial",
    )  # fmt: skip
    with create_session() as session:
        entry = entries_of(session, mode_chain(chain))[-1]
    assert (entry.kind, entry.component) == ("mode.change", "user:admin")
    assert entry.metadata["new_digest"] == change["new_digest"]


def test_the_same_mode_again_changes_nothing(admin, chain, document) -> None:
    text = document.read_text()
    assert admin.put(f"/api/v1/sops/{chain}/mode", json={"mode": "auto"}).status_code == 200
    assert document.read_text() == text
    assert admin.get(f"/api/v1/sops/{chain}/mode").json()["changes"] == []


def test_an_incompatible_mode_is_refused_with_each_reason(admin, chain, document) -> None:
    document.write_text(FAN_IN.format(name=chain))
    answer = admin.put(f"/api/v1/sops/{chain}/mode", json={"mode": "agent_centric"})
    assert answer.status_code == 422
    assert "step `c` has 2 prerequisites" in answer.json()["detail"]
    assert document.read_text() == FAN_IN.format(name=chain)
    assert admin.get(f"/api/v1/sops/{chain}/mode").json()["changes"] == []


def test_what_cannot_be_read_or_is_another_is_refused(admin, chain, document) -> None:
    document.write_text("sop: [")
    assert admin.put(f"/api/v1/sops/{chain}/mode", json={"mode": "agent_centric"}).status_code == 409
    document.write_text(FAN_IN.format(name="another"))
    assert "another SOP's" in admin.get(f"/api/v1/sops/{chain}/mode").text
    assert admin.get("/api/v1/sops/unknown/mode").status_code == 404


def test_a_document_that_cannot_be_written_leaves_no_record(admin, chain, document, monkeypatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("airflow_sop_provider.api.routes.modes.replace_file", full)
    answer = admin.put(f"/api/v1/sops/{chain}/mode", json={"mode": "agent_centric"})
    assert (answer.status_code, "No space left" in answer.text) == (409, True)
    monkeypatch.undo()
    assert admin.get(f"/api/v1/sops/{chain}/mode").json()["changes"] == []


def test_who_may_only_look_changes_nothing(client, signed_in, chain, document) -> None:
    text = document.read_text()
    assert client.put(f"/api/v1/sops/{chain}/mode", json={"mode": "agent_centric"}).status_code == 401
    assert signed_in("viewer").put(f"/api/v1/sops/{chain}/mode", json={"mode": "agent_centric"}).status_code == 403
    assert signed_in("viewer").get(f"/api/v1/sops/{chain}/mode").status_code == 200
    assert document.read_text() == text


def test_the_command_shows_and_changes_it(url, token, chain, document) -> None:
    environment = {"SOP_URL": url, "SOP_TOKEN": token}
    shown = CliRunner().invoke(app, ["mode", chain], env=environment)
    assert f"{chain}: auto, runs as system_design" in shown.output
    changed = CliRunner().invoke(app, ["mode", chain, "agent_centric", "--reason", "trial"], env=environment)
    assert "auto -> agent_centric by admin: trial" in changed.output


@pytest.fixture
def own(client, tmp_path, monkeypatch) -> tuple[str, Callable[[], None]]:
    """An SOP of its own, and what the dag-processor does when a document has changed."""
    name = "mode-of-its-own"
    folder = tmp_path / "sops"
    folder.mkdir()
    (folder / f"{name}.yaml").write_text(SOP.format(name=name))
    monkeypatch.setenv("AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_STORAGE_PATH", str(tmp_path / "storage"))
    with create_session() as session:
        session.merge(DagBundleModel(name="modes"))

    def parse() -> None:
        bundle = SopBundle(name="modes", path=str(folder))
        bundle.refresh()
        sync_bag_to_db(
            BundleDagBag(dag_folder=bundle.path, bundle_path=bundle.path, bundle_name=bundle.name), bundle.name, None
        )

    parse()
    return name, parse


def test_a_change_is_for_new_executions_only(admin, own) -> None:
    name, parse = own
    executions, mode = f"/api/v1/sops/{name}/executions", f"/api/v1/sops/{name}/mode"
    running = admin.post(executions, json={}).json()
    assert running["mode"] == "system_design"
    change = admin.put(mode, json={"mode": "agent_centric"}).json()["changes"][0]
    parse()
    fresh = admin.post(executions, json={}).json()
    assert (fresh["mode"], fresh["digest"]) == ("agent_centric", change["new_digest"])
    reconcile(create_session)
    kept = admin.get(f"{executions}/{quote(running['run_id'])}").json()
    assert (kept["execution"]["mode"], kept["execution"]["digest"]) == ("system_design", change["old_digest"])
    steps = admin.get(f"{executions}/{quote(running['run_id'])}/status").json()["steps"]
    assert list(steps) == ["first", "second"], "its tasks are those it began with"
    refused = admin.post(executions, json={"execution_mode": "system_design"})
    assert (refused.status_code, "agent_centric" in refused.text) == (409, True)


def test_the_command_is_refused_with_the_reason_and_exit_code_4(url, token, chain, document) -> None:
    document.write_text(FAN_IN.format(name=chain))
    done = call_sop(url, token, "mode", chain, "agent_centric")
    assert (done.exit_code, "step `c` has 2 prerequisites" in done.stderr) == (4, True)
