"""What is killed, fills up or is doubled: running steps are found again, none runs twice, none is lost."""

from __future__ import annotations

import fcntl
import os
import signal
import time
from pathlib import Path

import psutil
import pytest
from sqlalchemy import create_engine, text

from tests.integration.airflow_system import AirflowSystem
from tests.integration.audit_of import verified_entries
from tests.integration.conftest import on_postgres, on_sqlite

RUNS = 4


def _start_sleepers(airflow: AirflowSystem, folder: Path, seconds: float, count: int = RUNS) -> dict[str, Path]:
    """Trigger sleepers and return run id -> trace once all their commands have begun."""
    traces = {}
    folder.mkdir(exist_ok=True)
    for number in range(count):
        trace = folder / f"trace-{number}.txt"
        trace.touch()
        traces[airflow.trigger("sleeper", trace=str(trace), seconds=seconds)] = trace
    airflow.wait_for(lambda: all("start" in t.read_text() for t in traces.values()), "all commands to begin")
    return traces


def _assert_each_ran_once(airflow: AirflowSystem, traces: dict[str, Path]) -> None:
    for run, trace in traces.items():
        assert airflow.wait_for_run("sleeper", run) == "success"
        lines = trace.read_text().splitlines()
        assert [line.split()[0] for line in lines] == ["start", "end"], f"{run}: {lines}"
        assert airflow.step("sleeper", run, "sleep").attempt == 1
        ticks = [line for line in airflow.log_lines("sleeper", run, "sleep") if line.startswith("tick ")]
        assert ticks == [f"tick {number}" for number in range(1, 21)]


@on_sqlite
def test_scheduler_killed_while_steps_run_and_end(airflow: AirflowSystem, tmp_path: Path) -> None:
    """Some steps end before a scheduler is back, the others while the next one adopts them or after."""
    short = _start_sleepers(airflow, tmp_path / "short", seconds=10)
    long = _start_sleepers(airflow, tmp_path / "long", seconds=90)
    (child,) = airflow.executor_children()
    airflow.kill("scheduler")
    airflow.wait_for(lambda: not psutil.pid_exists(child), "the executor's child to end with its scheduler")
    assert airflow.attempt_processes(), "the steps go on without a scheduler"
    airflow.wait_for(lambda: all("end" in t.read_text() for t in short.values()), "the short commands to end")
    assert not any("end" in t.read_text() for t in long.values()), "the others still run"
    airflow.start_component("scheduler")
    _assert_each_ran_once(airflow, short | long)


@on_sqlite
def test_executor_child_killed(airflow: AirflowSystem, tmp_path: Path) -> None:
    traces = _start_sleepers(airflow, tmp_path, seconds=15)
    children = airflow.executor_children()
    assert len(children) == 1
    os.kill(children[0], signal.SIGKILL)
    airflow.wait_for(lambda: set(airflow.executor_children()) - set(children), "the scheduler to start another child")
    _assert_each_ran_once(airflow, traces)


@on_sqlite
def test_api_server_killed_while_steps_end(airflow: AirflowSystem, tmp_path: Path) -> None:
    traces = _start_sleepers(airflow, tmp_path, seconds=8)
    airflow.kill("api-server")
    limit = time.monotonic() + 120
    while not all("end" in trace.read_text() for trace in traces.values()) and time.monotonic() < limit:
        time.sleep(0.5)
    airflow.start_component("api-server")
    airflow.wait_for(lambda: airflow.api.health() is not None, "the API server to be back")
    _assert_each_ran_once(airflow, traces)


@on_sqlite
def test_steps_killed_from_outside_are_crashes_and_tried_again(airflow: AirflowSystem, tmp_path: Path) -> None:
    (run, trace), *_ = _start_sleepers(airflow, tmp_path, seconds=6, count=1).items()
    for pid in airflow.attempt_processes():
        os.kill(pid, signal.SIGKILL)
    assert airflow.wait_for_run("sleeper", run) == "success"
    assert airflow.step("sleeper", run, "sleep").attempt == 2
    assert [line.split()[0] for line in trace.read_text().splitlines()] == ["start", "start", "end"]
    entries = [entry for entry in verified_entries(airflow, "sleeper", run, tmp_path) if entry.step == "sleep"]
    for kind in ("attempt.begin", "action", "attempt.end"):
        assert [entry.attempt for entry in entries if entry.kind == kind] == [1, 2], "also what the killed one had done"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount a small disk")
@on_sqlite
def test_full_disk_in_the_log_folder(airflow: AirflowSystem, small_disk: Path) -> None:
    filler = small_disk / "filler"
    with filler.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(b"x" * 4096)
        except OSError:
            pass
    run, state = airflow.run("talker", lines=50)
    assert state == "success", "a full disk for logs does not fail a step"
    filler.unlink()
    expected = [f"line-{number}" for number in range(1, 51)]

    def complete() -> bool:
        lines = airflow.log_lines("talker", run, "talk")
        return [line for line in lines if line.startswith("line-")] == expected

    airflow.wait_for(complete, "the log to be completed once there is room")


@on_postgres
def test_a_lock_that_nobody_gives_back_holds_up_no_other_execution(airflow: AirflowSystem, tmp_path: Path) -> None:
    """As a scheduler leaves it that is killed alone: its workers keep its connection, and with it its locks."""
    trace = tmp_path / "trace.txt"
    trace.touch()
    held = airflow.trigger("sleeper", trace=str(trace), seconds=2)
    airflow.wait_for_step("sleeper", held, "sleep", "running")
    engine = create_engine(airflow.instance.connection)
    with engine.begin() as connection:
        connection.execute(text("SET idle_in_transaction_session_timeout = 0"))
        connection.execute(text("SELECT id FROM dag_run WHERE run_id = :run FOR NO KEY UPDATE"), {"run": held})
        airflow.wait_for(lambda: "end" in trace.read_text(), "the command to end")
        assert airflow.run("single")[1] == "success"
    engine.dispose()
    assert airflow.wait_for_run("sleeper", held) == "success"


def test_a_hundred_executions_at_once_all_complete(airflow: AirflowSystem, tmp_path: Path) -> None:
    """All run before the first may end; on PostgreSQL two schedulers share them, and one dies in the middle."""
    airflow.wait_for_dag("once")
    airflow.api.pause("once")
    gate, traces = tmp_path / "gate", {}
    with gate.open("w") as closed:
        fcntl.flock(closed, fcntl.LOCK_EX)
        for number in range(100):
            trace = tmp_path / f"trace-{number}.txt"
            trace.touch()
            traces[airflow.trigger("once", trace=str(trace), gate=str(gate))] = trace
        airflow.api.unpause("once")
        running = "WHERE dag_id = 'once' AND state = 'running'"
        airflow.wait_for(
            lambda: airflow.query(f"SELECT COUNT(*) FROM dag_run {running}") == [(100,)], "all executions to run"
        )
        two_schedulers = "scheduler-1" in airflow.components
        airflow.wait_for(
            lambda: (
                airflow.query(f"SELECT COUNT(DISTINCT queued_by_job_id) FROM task_instance {running}")
                == [(1 + two_schedulers,)]
            ),
            "every scheduler to have a share of the running steps",
        )
        if two_schedulers:
            airflow.kill("scheduler-1")
    for run, trace in traces.items():
        assert airflow.wait_for_run("once", run, seconds=1200) == "success"
        assert [line.split()[0] for line in trace.read_text().splitlines()] == ["start", "end"]
        if two_schedulers:
            verified_entries(airflow, "once", run, tmp_path)
