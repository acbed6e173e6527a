"""What `make bench-engine` lets executions look like is what the engine itself says of running ones."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from airflow.dag_processing.dagbag import BundleDagBag, sync_bag_to_db
from airflow.models.dagbundle import DagBundleModel
from airflow.models.dagrun import DagRun
from airflow.models.taskinstance import TaskInstance
from airflow.utils.session import create_session
from sqlalchemy import func, select

from airflow_sop_provider.bundles.sop_bundle import SopBundle
from airflow_sop_provider.store.tables import ExecutionRow
from benchmarks.documents import SHAPE, sop_text
from benchmarks.engine_facts import begin, plans
from benchmarks.engine_past import fill, time_them
from tests.api.test_executions import address, submit

PAST, RUNNING = 30, 8


@pytest.fixture
def bench(admin, tmp_path, monkeypatch) -> str:
    """Id of the benchmarks' SOP, known to Airflow."""
    sops = tmp_path / "sops"
    sops.mkdir()
    (sops / "bench-1.yaml").write_text(sop_text(1))
    with create_session() as session:
        session.merge(DagBundleModel(name="load"))
    monkeypatch.setenv("AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_STORAGE_PATH", str(tmp_path / "storage"))
    bundle = SopBundle(name="load", path=str(sops))
    bundle.refresh()
    bag = BundleDagBag(dag_folder=bundle.path, bundle_path=bundle.path, bundle_name=bundle.name)
    sync_bag_to_db(bag, bundle.name, None)
    return "bench-1"


def test_executions_run_and_their_runners_are_let_in(admin, client, bench, tmp_path) -> None:
    made = [submit(admin, "bench-1") for _ in range(3)]
    files = begin("bench-1", tmp_path, 0, 2) + begin("bench-1", tmp_path, 1, 2)
    listed = [one for file in files for one in json.loads(Path(file).read_text())]
    assert {one["run"] for one in listed} == {one.json()["run_id"] for one in made}
    now = admin.get(f"{address(made[2])}/status").json()
    assert (now["status"], now["progress"], now["current_steps"]) == ("RUNNING", 1 / len(SHAPE), [list(SHAPE)[1]])
    for one in listed:
        answer = client.post(
            "/api/v1/runner/events",
            json={"events": [{"seq": 0, "event": "heartbeat"}]},
            headers={"Authorization": f"Bearer {one['token']}"},
        )
        assert answer.status_code == 200
    (plan,) = plans("bench-1")
    assert "USING INDEX sqlite_autoindex_sop_execution" in plan
    assert "SCAN" not in plan


def test_years_of_executions_are_copies_of_one(admin, bench, tmp_path) -> None:
    submit(admin, bench)
    begin(bench, tmp_path, 0, 1)
    with create_session() as session:
        fill(session, bench, PAST, RUNNING)
    with create_session() as session:
        runs = dict(session.execute(select(DagRun.state, func.count()).group_by(DagRun.state)).all())
        stored = dict(session.execute(select(ExecutionRow.status, func.count()).group_by(ExecutionRow.status)).all())
        tasks = session.scalar(select(func.count()).select_from(TaskInstance))
    assert runs == {"success": PAST, "running": RUNNING + 1}
    assert stored == {"COMPLETED": PAST, "RUNNING": RUNNING + 1}
    assert tasks == (PAST + RUNNING + 1) * len(SHAPE)
    found = time_them(bench)
    assert len(found) == 5
    assert all(milliseconds > 0 for milliseconds in found.values())
    print(found)
