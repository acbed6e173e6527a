"""Real Airflows for the whole suite: on SQLite, on PostgreSQL with two schedulers; kill tests start their own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.airflow_system import SOPS, AirflowSystem
from tests.integration.begun import Begun
from tests.integration.postgres_server import PostgresServer
from tests.integration.statsd_socket import StatsdSocket
from tools.dev.environment import ROOT

DAGS = Path(__file__).parent / "dags"


_USERS = ",".join(["admin:admin", *(f"{name}:user" for name in ("anna", "bob", "carl", "dora"))])
_GROUPS = json.dumps({"treasury": ["anna", "bob", "dora"]})


def bundles(sops: Path) -> dict[str, dict[str, str]]:
    """Options that give an Airflow the SOPs of a folder and, beside them, the ordinary DAG files."""
    listed = [
        {
            "name": "sops",
            "classpath": "airflow_sop_provider.bundles.sop_bundle.SopBundle",
            "kwargs": {"path": str(sops), "refresh_interval": 2},
        },
        {
            "name": "dags",
            "classpath": "airflow.dag_processing.bundles.local.LocalDagBundle",
            "kwargs": {"path": str(DAGS), "refresh_interval": 300},
        },
    ]
    return {
        "dag_processor": {"dag_bundle_config_list": json.dumps(listed)},
        "core": {"dags_are_paused_at_creation": "False", "simple_auth_manager_users": _USERS},
        "sop": {"paused_upon_creation": "False", "refresh_seconds": "2", "approver_groups": _GROUPS},
    }


on_sqlite = pytest.mark.parametrize("airflow", [pytest.param("sqlite", marks=pytest.mark.airflow)], indirect=True)
"""For tests of what does not depend on the database."""

on_postgres = pytest.mark.parametrize("airflow", [pytest.param("postgres", marks=pytest.mark.postgres)], indirect=True)
"""For tests of what only a database for production can do."""


@pytest.fixture(scope="session")
def small_disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A file system of 32 MiB, for the logs of the Airflow on SQLite; an ordinary folder for who may not mount one."""
    folder = tmp_path_factory.mktemp("small-disk")
    mounted = os.geteuid() == 0
    if mounted:
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=32m", "tmpfs", str(folder)], check=True)
    try:
        yield folder
    finally:
        if mounted:
            subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.fixture(scope="session")
def statsd() -> Iterator[StatsdSocket]:
    """A socket that the Airflow on SQLite sends its metrics to."""
    listening = StatsdSocket()
    yield listening
    listening.close()


@pytest.fixture(
    scope="session",
    params=[
        pytest.param("sqlite", marks=pytest.mark.airflow),
        pytest.param("postgres", marks=pytest.mark.postgres),
    ],
)
def airflow(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[AirflowSystem]:
    """A running Airflow with the test SOPs and a fleet.yaml in a folder that tests may change.

    The one on SQLite writes its tasks' logs to `small_disk`; tests kill its components, and start them again.
    """
    folder = tmp_path_factory.mktemp(f"airflow-{request.param}")
    sops = folder / "sops"
    shutil.copytree(SOPS, sops)
    fleet = folder / "fleet.yaml"
    shutil.copy(ROOT / "fleet.yaml", fleet)
    server = PostgresServer() if request.param == "postgres" else None
    options = bundles(sops)
    if server is None:
        options["logging"] = {"base_log_folder": str(request.getfixturevalue("small_disk"))}
        port = request.getfixturevalue("statsd").port
        options["metrics"] = {"statsd_on": "True", "statsd_host": "127.0.0.1", "statsd_port": str(port)}
    try:
        system = AirflowSystem(
            folder / "home",
            sops=sops,
            fleet=fleet,
            database=server.create_database("airflow") if server else "",
            schedulers=2 if server else 1,
            overrides=options,
        )
        system.postgres = server
        try:
            system.start()
            yield system
        finally:
            system.stop()
    finally:
        if server:
            server.stop()


@pytest.fixture(autouse=True)
def _components_as_started(request: pytest.FixtureRequest) -> None:
    if "airflow" in request.fixturenames:
        request.getfixturevalue("airflow").as_started()


@pytest.fixture(scope="session")
def begun(airflow: AirflowSystem, tmp_path_factory: pytest.TempPathFactory) -> Begun:
    """The executions of `tests.integration.begun`, all under way."""
    return Begun(airflow, tmp_path_factory.mktemp("begun"))


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    """A file that steps append to, which proves how often they ran."""
    file = tmp_path / "trace.txt"
    file.touch()
    return file
