"""The engine's app with Airflow's own auth manager and database, in this process: no server, no stand-in."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from airflow.api_fastapi.app import create_auth_manager
from airflow.api_fastapi.auth.managers.simple.user import SimpleAuthManagerUser
from airflow.dag_processing.dagbag import BundleDagBag, sync_bag_to_db
from airflow.models.dagbundle import DagBundleModel
from airflow.models.dagrun import DagRun
from airflow.models.taskinstance import TaskInstance
from airflow.utils.session import create_session
from fastapi.testclient import TestClient
from sqlalchemy import delete, select

from airflow_sop_provider.api.app import create_app
from airflow_sop_provider.bundles.sop_bundle import SopBundle
from airflow_sop_provider.runs import overrun
from airflow_sop_provider.store.tables import metadata
from tests.airflow_env import airflow_database

__all__ = ["airflow_database"]

SOP = """\
sop: {name}
version: 1.0.0
title: A chain of two
control: T-1
inputs:
  number: {{type: integer, default: 1}}
steps:
  - id: first
    compute: {{value: "inputs.number + 1"}}
  - id: second
    needs: [first]
    compute: {{value: "steps.first.value * 2"}}
"""


def known_to_airflow(folder: Path, bundle_name: str, storage: Path) -> None:
    """Have Airflow read the SOPs of a folder, as its dag-processor would."""
    with create_session() as session:
        session.merge(DagBundleModel(name=bundle_name))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_STORAGE_PATH", str(storage))
        bundle = SopBundle(name=bundle_name, path=str(folder))
        bundle.refresh()
        bag = BundleDagBag(dag_folder=bundle.path, bundle_path=bundle.path, bundle_name=bundle.name)
        sync_bag_to_db(bag, bundle.name, None)


@pytest.fixture(scope="session")
def chain(airflow_database: None, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Id of an SOP that Airflow knows: two steps, one after the other."""
    return known_sop("api-chain", SOP, tmp_path_factory, bundle_name="api")


@pytest.fixture(scope="session")
def fork(airflow_database: None, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Id of an SOP of two steps that do not need each other."""
    text = SOP.replace("    needs: [first]\n", "").replace("steps.first.value * 2", "inputs.number * 2")
    return known_sop(
        "api-fork", text.replace("control: T-1\n", "mode: system_design\n"), tmp_path_factory, bundle_name="fork"
    )


def known_sop(name: str, text: str, tmp_path_factory: pytest.TempPathFactory, *, bundle_name: str) -> str:
    """Have Airflow know an SOP; return its id."""
    folder = tmp_path_factory.mktemp("sops")
    (folder / f"{name}.yaml").write_text(text.format(name=name))
    known_to_airflow(folder, bundle_name, tmp_path_factory.mktemp("storage"))
    return name


@pytest.fixture
def empty_tables(airflow_database: None) -> Iterator[None]:
    """Every test begins with the engine's tables empty, and without a run of Airflow's."""
    yield
    with create_session() as session:
        for table in reversed(metadata.sorted_tables):
            session.execute(delete(table))
        for model in (TaskInstance, DagRun):  # what refers to them goes with them
            session.execute(delete(model))
    overrun._not_before.clear()  # SQLite gives the numbers of deleted rows again; executions are never deleted


@pytest.fixture
def client(chain: str, empty_tables: None) -> TestClient:
    """Calls the app as nobody; its background work does not run."""
    app = create_app()
    app.state.auth_manager = create_auth_manager()
    app.state.auth_manager.init()
    from airflow.api_fastapi.common.dagbag import create_dag_bag

    app.state.dag_bag = create_dag_bag()
    return TestClient(app)


@pytest.fixture
def signed_in(client: TestClient) -> Callable[[str], TestClient]:
    """Give a client that calls as a user with this role of the simple auth manager."""

    def make(role: str) -> TestClient:
        user = SimpleAuthManagerUser(username=role, role=role)
        token = client.app.state.auth_manager.generate_jwt(user)  # type: ignore[attr-defined]
        return TestClient(client.app, headers={"Authorization": f"Bearer {token}"})

    return make


@pytest.fixture
def admin(signed_in: Callable[[str], TestClient]) -> TestClient:
    return signed_in("admin")


@pytest.fixture
def set_tasks() -> Callable[..., None]:
    """Set states of a run's task instances as the scheduler would: ``set_tasks(sop, run_id, first="success")``."""

    def apply(sop: str, run_id: str, **states: Any) -> None:
        with create_session() as session:
            for ti in session.scalars(
                select(TaskInstance).where(TaskInstance.dag_id == sop, TaskInstance.run_id == run_id)
            ):
                if ti.task_id in states:
                    ti.state = states[ti.task_id]

    return apply
