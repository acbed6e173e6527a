"""One real Airflow on SQLite and one on PostgreSQL for the whole suite; kill tests start their own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.airflow_system import AirflowSystem
from tests.integration.postgres_server import PostgresServer


@pytest.fixture(scope="session")
def airflow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AirflowSystem]:
    """A running Airflow on SQLite with the test SOPs."""
    system = AirflowSystem(tmp_path_factory.mktemp("airflow-sqlite"))
    try:
        system.start()
        yield system
    finally:
        system.stop()


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """A PostgreSQL server on loopback, ended with the suite."""
    server = PostgresServer()
    try:
        yield server
    finally:
        server.stop()


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    """A file that steps append to, which proves how often they ran."""
    file = tmp_path / "trace.txt"
    file.touch()
    return file
