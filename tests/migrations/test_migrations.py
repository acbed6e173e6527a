"""The migrations make exactly the tables that the engine uses, on both databases, and take them away again."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from airflow.utils.db_manager import RunDBManager
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.operations import Operations
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, create_engine, inspect

from airflow_sop_provider.migrations.manager import SopDBManager
from airflow_sop_provider.store.tables import metadata
from tests.integration.postgres_server import PostgresServer


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Engine]:
    if request.param == "sqlite":
        made = create_engine(f"sqlite:///{tmp_path / 'engine.db'}")
        yield made
        made.dispose()
        return
    server = PostgresServer()
    made = create_engine(server.create_database("migrated"))
    yield made
    made.dispose()
    server.stop()


def revisions() -> list[str]:
    script = ScriptDirectory(SopDBManager.migration_dir)
    return [one.revision for one in script.walk_revisions()][::-1]


def module_of(revision: str):
    script = ScriptDirectory(SopDBManager.migration_dir)
    return importlib.import_module(
        f"airflow_sop_provider.migrations.versions.{Path(script.get_revision(revision).path).stem}"
    )


def test_they_make_the_tables_of_today_and_take_them_away(engine: Engine) -> None:
    with engine.begin() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": False})
        with Operations.context(context):
            for revision in revisions():
                module_of(revision).upgrade()
            assert compare_metadata(context, metadata) == []
            for revision in revisions()[::-1]:
                module_of(revision).downgrade()
        assert not [name for name in inspect(connection).get_table_names() if name.startswith("sop_")]


def test_there_is_one_head_and_the_manager_names_it() -> None:
    assert ScriptDirectory(SopDBManager.migration_dir).get_heads() == [
        list(SopDBManager.revision_heads_map.values())[-1]
    ]


def test_airflow_runs_them() -> None:
    managers = RunDBManager()._managers
    assert SopDBManager in managers
    RunDBManager._validate(SopDBManager)
