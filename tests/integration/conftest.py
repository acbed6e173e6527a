"""Real Airflows for the whole suite: on SQLite, on PostgreSQL with two schedulers; kill tests start their own."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.airflow_system import SOPS, AirflowSystem
from tests.integration.postgres_server import PostgresServer

DAGS = Path(__file__).parent / "dags"


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
        "core": {"dags_are_paused_at_creation": "False"},
    }


@pytest.fixture(
    scope="session",
    params=[
        pytest.param("sqlite", marks=pytest.mark.airflow),
        pytest.param("postgres", marks=pytest.mark.postgres),
    ],
)
def airflow(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[AirflowSystem]:
    """A running Airflow with the test SOPs in a folder that tests may change."""
    folder = tmp_path_factory.mktemp(f"airflow-{request.param}")
    sops = folder / "sops"
    shutil.copytree(SOPS, sops)
    server = PostgresServer() if request.param == "postgres" else None
    try:
        system = AirflowSystem(
            folder / "home",
            sops=sops,
            database=server.create_database("airflow") if server else "",
            schedulers=2 if server else 1,
            overrides=bundles(sops),
        )
        try:
            system.start()
            yield system
        finally:
            system.stop()
    finally:
        if server:
            server.stop()


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    """A file that steps append to, which proves how often they ran."""
    file = tmp_path / "trace.txt"
    file.touch()
    return file
