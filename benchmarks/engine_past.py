"""Copies executions until a database holds years of them, and times there what the engine does all the while.

A program of its own, in the environment of the Airflow whose database it is: ``SOP PAST OPEN``. The copies are made by
the database itself (INSERT ... SELECT of one execution that was submitted and let run), so only their ids differ. Its
last line is a JSON object: what was timed -> milliseconds.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence

from airflow.models.dagrun import DagRun
from airflow.models.taskinstance import TaskInstance
from airflow.utils.session import create_session
from sqlalchemy import Table, text
from sqlalchemy.orm import Session

from airflow_sop_provider.api.statements import statements
from airflow_sop_provider.runs.live import standing
from airflow_sop_provider.runs.overrun import find_overruns
from airflow_sop_provider.runs.reconcile import KnownRuns, reconcile
from airflow_sop_provider.store.execution_tables import ExecutionRow

__all__ = ["fill", "time_them"]

_TURNS = 15


def fill(session: Session, sop: str, past: int, running: int) -> None:
    """Copy one execution of an SOP so many times: ended ones, and ones that run."""
    postgres = session.get_bind().dialect.name == "postgresql"
    identity = "gen_random_uuid()" if postgres else "lower(hex(randomblob(16)))"
    run = session.execute(text("SELECT run_id FROM dag_run WHERE dag_id = :sop ORDER BY id"), {"sop": sop}).scalar_one()
    for name, count, over in (("past", past, True), ("running", running, False)):
        renamed = {"run_id": f"'{name}__' || g.n"}
        of_run = {**renamed, "logical_date": "NULL", "state": "'success'" if over else "'running'"}
        if over:
            of_run["end_date"] = "t.start_date"
        of_execution = {**renamed, "status": "'COMPLETED'", "ended_at": "t.started_at"} if over else renamed
        of_task = {**renamed, "id": identity, **({"state": "'success'"} if over else {})}
        for table, changes, key in (
            (DagRun.__table__, of_run, "dag_id"),
            (TaskInstance.__table__, of_task, "dag_id"),
            (ExecutionRow.__table__, of_execution, "sop"),
        ):
            _copy(session, table, changes, f"t.{key} = :sop AND t.run_id = :run", count, {"sop": sop, "run": run})
    session.commit()
    session.connection(execution_options={"isolation_level": "AUTOCOMMIT"}).execute(text("ANALYZE"))


def _copy(
    session: Session, table: Table, changes: Mapping[str, str], where: str, count: int, values: Mapping[str, str]
) -> None:
    names = [column.name for column in table.columns if column.name in changes or not _is_number(table, column.name)]
    quoted = ", ".join(f'"{name}"' for name in names)
    chosen = ", ".join(changes.get(name, f't."{name}"') for name in names)
    numbers = "WITH RECURSIVE g(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM g WHERE n < :count)"
    session.execute(
        text(f"{numbers} INSERT INTO {table.name} ({quoted}) SELECT {chosen} FROM {table.name} t, g WHERE {where}"),
        {**values, "count": count},
    )


def _is_number(table: Table, column: str) -> bool:
    """Tell whether the database numbers the rows by this column itself."""
    return table.autoincrement_column is not None and table.autoincrement_column.name == column


def time_them(sop: str) -> dict[str, float]:
    """Return how many milliseconds each of the engine's regular looks takes, and a status query."""
    moment = [1000.0]
    fresh = KnownRuns(lambda: moment[0])
    reconcile(create_session, fresh)
    moment[0] += 200
    reconcile(create_session, fresh)
    found = {
        "following, first turn of a process": _median(lambda: reconcile(create_session, KnownRuns()), 5),
        "following, every second after": _median(lambda: reconcile(create_session, fresh)),
        "what takes too long, first turn": _median(lambda: find_overruns(create_session), 1),
        "what takes too long, every ten seconds after": _median(lambda: find_overruns(create_session)),
    }
    with statements() as connection:
        found["a status query's statement"] = _median(lambda: standing(connection, sop, "running__7"), 200)
    return found


def _median(work: Callable[[], object], turns: int = _TURNS) -> float:
    times = []
    for _ in range(turns):
        began = time.perf_counter()
        work()
        times.append((time.perf_counter() - began) * 1e3)
    return statistics.median(times)


def main(arguments: Sequence[str]) -> int:
    """Do what the command line says."""
    sop, past, running = arguments
    with create_session() as session:
        fill(session, sop, int(past), int(running))
    print(json.dumps(time_them(sop)))
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
