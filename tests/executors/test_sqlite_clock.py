"""The scheduler's clock on SQLite has milliseconds, so that a run is found in the second in which it was made."""

from __future__ import annotations

import inspect
import subprocess
import sys

from airflow.models.dagrun import DagRun

PROGRAM = """
import re, time
from datetime import UTC, datetime, timedelta
from sqlalchemy import Column, DateTime, Integer, MetaData, Table, create_engine, func, insert, select
from sqlalchemy.dialects import postgresql
from airflow_sop_provider.executors.sqlite_clock import use_precise_now

if {precise}:
    use_precise_now()
engine, metadata = create_engine("sqlite://"), MetaData()
runs = Table("run", metadata, Column("id", Integer, primary_key=True), Column("run_after", DateTime))
metadata.create_all(engine)
due = select(runs.c.id).where(runs.c.run_after <= func.now())
with engine.connect() as connection:
    while datetime.now(UTC).microsecond > 700_000:  # so that all of this is within one second
        time.sleep(0.01)
    connection.execute(insert(runs), [
        dict(id=1, run_after=datetime.now(UTC).replace(tzinfo=None)),
        dict(id=2, run_after=datetime.now(UTC).replace(tzinfo=None) + timedelta(hours=1)),
    ])
    time.sleep(0.01)
    print(list(connection.scalars(due)), str(due.compile(dialect=postgresql.dialect())).endswith("now()"))
"""


def _found(*, precise: bool) -> str:
    program = PROGRAM.format(precise=precise)
    return subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True, timeout=60
    ).stdout.strip()


def test_a_run_is_found_at_once_and_none_before_its_time() -> None:
    assert _found(precise=True) == "[1] True"


def test_without_it_a_run_waits_for_the_next_second() -> None:
    assert _found(precise=False) == "[] True", "SQLAlchemy or SQLite does it by itself now: sqlite_clock.py can go"


def test_the_scheduler_asks_the_database_for_the_time() -> None:
    for look in (DagRun.get_queued_dag_runs_to_set_running, DagRun.get_running_dag_runs_to_examine):
        assert "DagRun.run_after <= func.now()" in inspect.getsource(look)
