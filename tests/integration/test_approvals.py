"""Approvals on a real Airflow: asked in its Required Actions, answered over its REST API and ours, by several users."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from airflow_sop_provider.client import ExecutionCoordinator, NotAllowedError
from tests.integration.airflow_system import AirflowSystem
from tools.dev.rest import AirflowApi

SOP = "signed"


class Signing:
    """One execution of `signed`, triggered by bob."""

    def __init__(self, airflow: AirflowSystem, file: Path) -> None:
        self._airflow = airflow
        self.passwords: dict[str, str] = json.loads((airflow.home / "passwords.json").read_text())
        self._apis = {
            name: AirflowApi(airflow.instance.url, name, password) for name, password in self.passwords.items()
        }
        airflow.wait_for_dag(SOP)
        self.run = self._apis["bob"].trigger(SOP, {"file": str(file)})
        self.wait()

    def wait(self) -> None:
        """Wait until people are asked."""
        self._airflow.wait_for_step(SOP, self.run, "sign", "awaiting_input")

    def request(self, name: str = "admin", method: str = "GET", **body: Any) -> Any:
        """Airflow's request, as this user."""
        path = f"/api/v2/dags/{SOP}/dagRuns/{self.run}/taskInstances/sign/-1/hitlDetails"
        return self._apis[name]._send(method, path, allow=(403, 404, 409), json=body or None, repeatable=True)

    def respond(self, name: str, choice: str = "Approve", **given: str) -> int:
        """Answer it in Airflow; return the HTTP status."""
        return int(self.request(name, "PATCH", chosen_options=[choice], params_input=given).status_code)

    def forget_assignees(self) -> None:
        """Have Airflow let everybody answer, as it does where users are kept elsewhere."""
        self._airflow.execute(
            "UPDATE hitl_detail SET assignees = '[]' WHERE ti_id IN"
            " (SELECT id FROM task_instance WHERE run_id = :run AND task_id = 'sign')",
            run=self.run,
        )

    def answer(self, name: str, approval: int, **body: Any) -> dict[str, Any]:
        """Answer it in the engine."""
        with ExecutionCoordinator(self._airflow.instance.url, user=name, password=self.passwords[name]) as engine:
            return engine.answer(SOP, approval, "approved", **body)

    def approval(self) -> int:
        with ExecutionCoordinator(self._airflow.instance.url, user="admin", password=self.passwords["admin"]) as engine:
            return int(engine.approvals(run_id=self.run)["approvals"][0]["id"])

    def events(self) -> list[str]:
        rows = self._airflow.query(
            "SELECT e.meta FROM sop_audit_entry e JOIN sop_audit_chain c ON c.id = e.chain_id"
            " WHERE c.name = :name AND e.kind = 'approval' ORDER BY e.seq",
            name=f"{SOP}/{self.run}",
        )
        return [json.loads(meta)["event"] for (meta,) in rows]

    def wait_for_events(self, *events: str) -> None:
        def look() -> bool:
            return self.events() == list(events)

        self._airflow.wait_for(look, f"the audit log to say {events}, it says {self.events()}")


@pytest.fixture
def signing(airflow: AirflowSystem, tmp_path: Path) -> Signing:
    (tmp_path / "value.json").write_text('{"value": 3}')
    return Signing(airflow, tmp_path / "value.json")


def test_two_people_sign_and_nobody_else_gets_past_whatever_is_killed_meanwhile(
    airflow: AirflowSystem, signing: Signing, tmp_path: Path
) -> None:
    late = airflow.trigger("signed-late")
    shown = signing.request().json()
    assert (shown["subject"], "May 3 go?" in shown["body"]) == ("Sign what was read (0 of 2)", True)
    assert [user["id"] for user in shown["assigned_users"]] == ["anna", "dora"], "not bob, who triggered it"
    assert [signing.respond(name) for name in ("bob", "carl", "admin")] == [403, 403, 403]

    # Airflow's own check out of the way, ours remains: the request is open again, the step where it was
    for name, refused in (("carl", 1), ("bob", 2)):
        signing.forget_assignees()
        assert signing.respond(name) == 200
        signing.wait_for_events("asked", *["refused"] * refused)
        signing.wait()
    assert signing.respond("anna", comment="fine", meaning="reviewed") == 200
    signing.wait_for_events("asked", "refused", "refused", "answered")
    signing.wait()
    assert signing.request().json()["subject"] == "Sign what was read (1 of 2)"

    for child in airflow.executor_children():
        os.kill(child, signal.SIGKILL)
    airflow.restart("scheduler")
    signing.forget_assignees()
    assert signing.respond("anna") == 200
    signing.wait_for_events("asked", "refused", "refused", "answered", "refused")
    signing.wait()
    with pytest.raises(NotAllowedError, match="answered already"):
        signing.answer("anna", signing.approval())
    assert signing.answer("dora", signing.approval(), comment="go")["state"] == "approved"
    assert airflow.wait_for_run(SOP, signing.run) == "success"
    assert airflow.api.outputs(SOP, signing.run, "after") == {"by": ["anna", "dora"], "value": 3}

    # nothing has changed: it stands; something has: they are asked anew
    _clear(airflow, signing.run, "sign")
    assert airflow.wait_for_run(SOP, signing.run) == "success"
    assert signing.events()[-1] == "stands"
    (tmp_path / "value.json").write_text('{"value": 4}')
    _clear(airflow, signing.run, "read")
    signing.wait()
    assert "May 4 go?" in signing.request().json()["body"]
    assert signing.events()[-2:] == ["void", "asked"]
    assert signing.respond("dora", "Reject") == 200
    assert airflow.wait_for_run(SOP, signing.run) == "failed"

    assert airflow.wait_for_run("signed-late", late) == "failed"
    assert airflow.step_states("signed-late", late) == {"before": "success", "unasked": "skipped", "sign": "failed"}
    told = airflow.query("SELECT kind FROM sop_outbox WHERE dedupe_key LIKE 'approval:%'")
    assert told == [("approval",)]


def _clear(airflow: AirflowSystem, run: str, step: str) -> None:
    body = {
        "dry_run": False, "dag_run_id": run, "task_ids": [step], "only_failed": False, "include_downstream": True,
        "reset_dag_runs": True,
    }  # fmt: skip
    assert airflow.request("POST", f"/api/v2/dags/{SOP}/clearTaskInstances", json=body).is_success
    airflow.wait_for(lambda: airflow.api.run_state(SOP, run) not in ("success", "failed"), "the run to go on")
