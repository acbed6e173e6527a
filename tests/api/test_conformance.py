"""An execution that departed from its SOP: what its policy makes of it, stored and told in one transaction."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from airflow.utils.session import create_session
from sqlalchemy import select

from airflow_sop_provider.store.alert_tables import OutboxRow
from airflow_sop_provider.store.executions import find_execution
from tests.api.conftest import known_to_airflow
from tests.api.test_executions import address, finish, submit

SOP = """\
sop: {name}
version: 1.0.0
title: Two steps of which an agent leaves one out
agent: {{model: some-model, on_deviation: {policy}}}
steps:
  - {{id: look, agent: {{instruction: Look.}}}}
  - {{id: say, agent: {{instruction: Say.}}}}
"""


@pytest.fixture(scope="module")
def known(airflow_database: None, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], str]:
    """Make an agent-centric SOP with a policy known to Airflow; return its id."""
    folder: Path = tmp_path_factory.mktemp("deviating")
    for policy in ("fail", "escalate"):
        (folder / f"deviating-{policy}.yaml").write_text(SOP.format(name=f"deviating-{policy}", policy=policy))
    known_to_airflow(folder, "deviating", tmp_path_factory.mktemp("storage"))
    return lambda policy: f"deviating-{policy}"


@pytest.mark.parametrize(("policy", "status"), [("fail", "FAILED"), ("escalate", "COMPLETED")])
def test_a_departure_fails_or_is_told_by_the_sops_policy(admin, known, set_tasks, policy, status) -> None:
    sop = known(policy)
    made = submit(admin, sop)
    run_id = made.json()["run_id"]
    set_tasks(sop, run_id, agent="success")  # and no step of it was ever recorded
    finish(sop, run_id, "success")
    found = admin.get(address(made)).json()
    assert found["execution"]["status"] == status
    conformance = found["result"]["conformance"]
    assert conformance["explanation"] == ["look: It was not done.", "say: It was not done."]
    with create_session() as session:
        row = find_execution(session, sop, run_id)
        told = list(session.scalars(select(OutboxRow).where(OutboxRow.execution_id == row.id)))
        assert [(one.kind, one.payload["explanation"]) for one in told] == [("deviation", conformance["explanation"])]
    entries = admin.get("/api/v1/audit/entries", params={"execution": f"{sop}/{run_id}"}).json()["entries"]
    assert "conformance" in [entry["kind"] for entry in entries]


def test_without_agents_there_is_no_policy_steps_marked_as_done_by_hand_are_told(admin, chain, set_tasks) -> None:
    made = submit(admin, chain)
    set_tasks(chain, made.json()["run_id"], first="success", second="success")
    finish(chain, made.json()["run_id"], "success")
    found = admin.get(address(made)).json()
    assert found["execution"]["status"] == "COMPLETED"
    assert found["result"]["conformance"]["explanation"] == ["first: It was not done.", "second: It was not done."]
    with create_session() as session:
        row = find_execution(session, chain, made.json()["run_id"])
        assert session.scalars(select(OutboxRow.kind).where(OutboxRow.execution_id == row.id)).all() == ["deviation"]
