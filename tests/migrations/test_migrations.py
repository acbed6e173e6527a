"""The migrations make exactly the tables that the engine uses, on both databases, and take them away again."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from airflow import settings
from airflow.utils.db_manager import RunDBManager
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.operations import Operations
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, create_engine, inspect, text
from sqlalchemy.orm import Session, sessionmaker

from airflow_sop_provider.migrations.__main__ import main
from airflow_sop_provider.migrations.manager import SopDBManager
from airflow_sop_provider.store.alerts import flag
from airflow_sop_provider.store.attempts import AttemptBegin, AttemptEnd, begin_attempt, end_attempt
from airflow_sop_provider.store.audit_digests import make_digest
from airflow_sop_provider.store.audit_keys import SigningKey
from airflow_sop_provider.store.audit_retention import place_hold
from airflow_sop_provider.store.base import utc_now
from airflow_sop_provider.store.executions import open_execution
from airflow_sop_provider.store.tables import CheckpointRow, metadata
from tests.integration.postgres_server import PostgresServer
from tests.store.facts import SUBMITTED, attempt_key, context_of, run_facts


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


# -- with data in them ----------------------------------------------------------------------------


@pytest.fixture
def as_airflow(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> sessionmaker[Session]:
    """The database as Airflow's own, with a table and a row of Airflow's beside ours."""
    monkeypatch.setattr(settings, "engine", engine)
    monkeypatch.setattr(settings, "SQL_ALCHEMY_CONN", engine.url.render_as_string(hide_password=False))
    made = sessionmaker(engine)
    monkeypatch.setattr(settings, "NonScopedSession", made)
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE dag_run (id INTEGER PRIMARY KEY, run_id VARCHAR(250))"))
        connection.execute(text("INSERT INTO dag_run VALUES (1, 'manual__1')"))
    return made


def store_facts(session: Session) -> None:
    """An execution that failed, its log signed and held: rows in most tables, and in all that refer to others."""
    execution = open_execution(session, run_facts(), context_of(), "sop: software-licence-review")
    key = attempt_key()
    begin_attempt(session, execution, AttemptBegin(key=key, kind="step"))
    end_attempt(session, execution, AttemptEnd(key=key, state="failed", error_type="permanent", message="no"))
    session.add(CheckpointRow(execution_id=execution.id, step="inventory", map_index=-1, attempt=1, data={}))
    execution.expected_seconds, execution.started_at = 1.0, SUBMITTED
    session.flush()
    assert flag(session, execution, utc_now())
    place_hold(session, by="ada", reason="audit")
    assert make_digest(session, SigningKey.from_secret("5a" * 32), utc_now()) is not None


def rows(engine: Engine) -> dict[str, list[str]]:
    with engine.connect() as connection:
        return {
            table.name: sorted(map(repr, connection.execute(table.select()).all())) for table in metadata.sorted_tables
        }


def migrate(sessions: sessionmaker[Session], **options) -> None:
    """As `airflow db migrate` does it."""
    with sessions() as session:
        SopDBManager(session).upgradedb(**options)


@pytest.mark.parametrize("by_files", [True, False], ids=["migrations", "all at once"])
def test_up_again_and_down_and_up_with_data_in_them(engine, as_airflow, by_files) -> None:
    migrate(as_airflow, use_migration_files=by_files)
    with as_airflow.begin() as session:
        store_facts(session)
    before = rows(engine)
    assert sum(map(bool, before.values())) >= 10, "rows in most tables"
    migrate(as_airflow)
    assert rows(engine) == before, "to migrate once more loses nothing"
    with as_airflow() as session:
        assert SopDBManager(session).check_migration()
    assert main(["base", "--yes"]) == 0
    assert not [name for name in inspect(engine).get_table_names() if name in metadata.tables]
    with engine.connect() as connection:
        assert connection.execute(text("SELECT run_id FROM dag_run")).all() == [("manual__1",)], "it is not ours"
    migrate(as_airflow)
    with as_airflow.begin() as session:
        store_facts(session)


def test_nothing_is_taken_away_unasked(engine, as_airflow, monkeypatch, capsys) -> None:
    migrate(as_airflow)
    monkeypatch.setattr("builtins.input", lambda _: "")
    assert main(["base"]) == 1
    assert main(["base", "--sql"]) == 0
    assert "DROP TABLE sop_audit_chain" in capsys.readouterr().out
    assert "sop_execution" in inspect(engine).get_table_names()
    with as_airflow() as session, pytest.raises(ValueError, match="leave `from_revision` out"):
        SopDBManager(session).downgrade("base", from_revision="0001")
