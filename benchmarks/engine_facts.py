"""Lets submitted executions run as the scheduler and the executor's child would have it written; shows query plans.

A program of its own, in the environment of the Airflow whose database it writes to: ``begin SOP FOLDER PART/PARTS`` or
``plans SOP FOLDER 0/1``. Its last line is a JSON list. Of execution number n, n modulo 3 steps are done and the next
one runs; each attempt has its begin, its end and its entries in the audit log. Task instances are set by
SQL.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

from airflow.models.dagrun import DagRun
from airflow.models.taskinstance import TaskInstance
from airflow.utils.session import create_session
from sqlalchemy import event, select, text, update
from sqlalchemy.orm import Session

from airflow_sop_provider.airflow_settings import engine_secret
from airflow_sop_provider.contract.attempt import AttemptKey
from airflow_sop_provider.contract.verdict import Usage
from airflow_sop_provider.engine.runner_tokens import key_of_secret, runner_token
from airflow_sop_provider.runs.live import standing
from airflow_sop_provider.runs.opening import opened
from airflow_sop_provider.store.attempts import AttemptBegin, AttemptEnd, begin_attempt, end_attempt
from airflow_sop_provider.store.base import utc_now
from benchmarks.documents import SHAPE

__all__ = ["begin", "plans"]

_AT_ONCE = 50
_DONE = 3


def begin(sop: str, folder: Path, part: int, parts: int) -> list[str]:
    """Write what has happened so far in every ``parts``-th execution; return the file that lists them."""
    with create_session() as session:
        runs = list(session.scalars(select(DagRun.run_id).where(DagRun.dag_id == sop).order_by(DagRun.id)))[part::parts]
    listed: list[dict[str, str]] = []
    for first in range(0, len(runs), _AT_ONCE):
        with create_session() as session:
            for number, run in enumerate(runs[first : first + _AT_ONCE], start=first):
                listed.append(_one(session, sop, run, number % _DONE))
    file = folder / f"running-{part}.json"
    file.write_text(json.dumps(listed))
    file.chmod(0o600)
    return [str(file)]


def _one(session: Session, sop: str, run: str, done: int) -> dict[str, str]:
    now = utc_now()
    session.execute(
        update(DagRun).where(DagRun.dag_id == sop, DagRun.run_id == run).values(state="running", start_date=now)
    )
    execution = opened(session, sop, run)
    assert execution is not None, "it was submitted"
    ids = dict(
        session.execute(
            select(TaskInstance.task_id, TaskInstance.id).where(TaskInstance.dag_id == sop, TaskInstance.run_id == run)
        ).all()
    )
    steps = list(SHAPE)[: done + 1]
    for place, step in enumerate(steps):
        key = AttemptKey(sop=sop, run_id=run, step=step, attempt=1, task_instance_id=str(ids[step]))
        start = now - timedelta(seconds=10 * (done - place + 1))
        begin_attempt(session, execution, AttemptBegin(key=key, kind="step", runtime="kubernetes", at=start))
        state = "running"
        if place < done:
            state = "success"
            usage = Usage(cpu_seconds=0.2, wall_seconds=10.0, peak_memory_bytes=50_000_000)
            end_attempt(
                session, execution,
                AttemptEnd(key=key, state="succeeded", usage=usage, events=_events(), at=start + timedelta(seconds=9)),
            )  # fmt: skip
        session.execute(
            update(TaskInstance).where(TaskInstance.id == ids[step])
            .values(state=state, start_date=start, try_number=1, end_date=now if place < done else None)
        )  # fmt: skip
    token = runner_token(key, key_of_secret(engine_secret()), timeout_seconds=3600, now=now)
    return {"run": run, "token": token}


def _events() -> list[dict[str, Any]]:
    action = {"seq": 1, "event": "action", "message": "compute", "time": "2026-11-25T08:00:00.000000Z", "names": ["v"]}
    access = {"seq": 2, "event": "data_access", "message": "records.get", "server": "records", "tool": "get"}
    return [action, access]


def plans(sop: str) -> list[str]:
    """Return each query of the status endpoint with how the database answers it."""
    said: list[str] = []
    with create_session() as session:
        run = session.scalars(select(DagRun.run_id).where(DagRun.dag_id == sop).order_by(DagRun.id.desc())).first()
        connection = session.connection()
        caught: list[tuple[str, Any]] = []

        def catch(_: Any, __: Any, statement: str, parameters: Any, *___: Any) -> None:
            caught.append((statement, parameters))

        event.listen(connection, "before_cursor_execute", catch)
        standing(connection, sop, str(run))
        event.remove(connection, "before_cursor_execute", catch)
        how = (
            "EXPLAIN QUERY PLAN" if connection.dialect.name == "sqlite" else "EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF)"
        )
        for statement, parameters in caught:
            rows = connection.exec_driver_sql(f"{how} {statement}", parameters).all()
            table = statement.partition("FROM ")[2].split()[0]
            said.append(f"{table}: " + "; ".join(str(row[-1]).strip() for row in rows))
        session.execute(text("SELECT 1"))
    return said


def main(arguments: Sequence[str]) -> int:
    """Do what the command line says."""
    what, sop, folder, share = arguments
    part, _, parts = share.partition("/")
    found = begin(sop, Path(folder), int(part), int(parts)) if what == "begin" else plans(sop)
    print(json.dumps(found))
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
