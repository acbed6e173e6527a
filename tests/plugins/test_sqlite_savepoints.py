"""Savepoints on SQLite: part of a transaction, and no reason for "database is locked"."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine, create_engine, event, text
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from airflow_sop_provider.plugins.sqlite_savepoints import _begin, begin_before_savepoints


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    made = create_engine(f"sqlite:///{tmp_path / 'a.db'}", connect_args={"timeout": 0.2})
    with made.begin() as connection:
        connection.execute(text("PRAGMA journal_mode=WAL"))
        connection.execute(text("CREATE TABLE run (id INTEGER)"))
    yield made
    made.dispose()


def count(session: Session) -> int:
    return int(session.execute(text("SELECT count(*) FROM run")).scalar_one())


def insert(session: Session) -> None:
    session.execute(text("INSERT INTO run VALUES (1)"))


def test_what_a_released_savepoint_holds_is_not_there_before_the_commit(engine: Engine) -> None:
    begin_before_savepoints(engine)
    with Session(engine) as one, Session(engine) as other:
        with one.begin_nested():
            insert(one)
        assert count(other) == 0
        other.rollback()
        one.rollback()
        assert count(other) == 0


def test_one_that_reads_before_it_writes_is_not_refused(engine: Engine) -> None:
    begin_before_savepoints(engine)
    with Session(engine) as one, Session(engine) as other:
        with one.begin_nested():
            assert count(one) == 0
            with pytest.raises(OperationalError, match="locked"):  # waits its turn, here in vain
                insert(other)
            other.rollback()
            insert(one)
        one.commit()
        assert count(other) == 1


@pytest.fixture
def without_it() -> Iterator[None]:
    """As if nobody had loaded the plugin, which listens to every engine of a process."""
    loaded = event.contains(Engine, "savepoint", _begin)
    if loaded:
        event.remove(Engine, "savepoint", _begin)
    yield
    if loaded:
        begin_before_savepoints()


def test_without_it_sqlite_is_as_described(without_it: None, engine: Engine) -> None:
    """The contract: once the driver begins by itself, this can go."""
    with Session(engine) as one, Session(engine) as other:
        with one.begin_nested():
            insert(one)
        assert count(other) == 1
        one.commit()
        nested = one.begin_nested()
        assert count(one) == 1
        insert(other)
        other.commit()
        with pytest.raises(OperationalError, match="locked"):
            insert(one)
        nested.rollback()


def test_a_transaction_that_has_begun_and_other_savepoints_are_left_alone(engine: Engine) -> None:
    begin_before_savepoints(engine)
    begin_before_savepoints(engine)
    with Session(engine) as one:
        insert(one)
        with one.begin_nested(), one.begin_nested():
            insert(one)
        with one.begin_nested() as undone:
            insert(one)
            undone.rollback()
        one.commit()
        assert count(one) == 2


def test_the_api_server_has_it(engine: Engine) -> None:
    """The app's maker turns it on for every engine of its process."""
    from sqlalchemy import event
    from sqlalchemy.engine import Engine as AnyEngine

    from airflow_sop_provider.plugins import engine_app
    from airflow_sop_provider.plugins.sqlite_savepoints import _begin

    before = event.contains(AnyEngine, "savepoint", _begin)
    try:
        assert next(iter(engine_app.EngineApps()))["url_prefix"] == engine_app.MOUNT
        with Session(engine) as one, Session(engine) as other:  # made before
            with one.begin_nested():
                insert(one)
            assert count(other) == 0
    finally:
        if not before:
            event.remove(AnyEngine, "savepoint", _begin)
