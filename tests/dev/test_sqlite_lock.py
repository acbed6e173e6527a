"""An event loop waits for SQLite's lock for a moment, a thread for as long as it takes."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine, create_engine, event, text
from sqlalchemy.exc import OperationalError
from sqlalchemy.pool import Pool

from tools.dev import sqlite_lock


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    sqlite_lock.wait_by_thread()
    sqlite_lock.wait_by_thread()  # twice is once
    engine = create_engine(f"sqlite:///{tmp_path / 'a.db'}", connect_args={"check_same_thread": False})
    yield engine
    engine.dispose()
    event.remove(Pool, "checkout", sqlite_lock._set_wait)


def waits(engine: Engine) -> int:
    with engine.connect() as connection:
        return int(connection.execute(text("PRAGMA busy_timeout")).scalar_one())


async def test_who_waits_how_long(engine: Engine) -> None:
    assert waits(engine) == 2_000
    assert await asyncio.to_thread(waits, engine) == 60_000
    assert waits(engine) == 2_000, "the same connection again"


async def test_a_thread_waits_for_a_lock_that_the_loop_gives_up(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_lock, "LOOP_SECONDS", 0)

    def write() -> None:
        with engine.begin() as connection:
            connection.execute(text("insert into t values (1)"))

    with engine.begin() as connection:
        connection.execute(text("create table t (a)"))
    with engine.connect() as holder:
        holder.execute(text("begin immediate"))
        with pytest.raises(OperationalError, match="locked"):
            write()
        waiting = asyncio.create_task(asyncio.to_thread(write))
        await asyncio.sleep(0.1)
        assert not waiting.done()
        holder.rollback()
    await waiting
