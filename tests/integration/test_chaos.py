"""The audit log is complete whatever dies: components are killed with -9 at random moments, or hang."""

from __future__ import annotations

import fcntl
import os
import random
import signal
import time
from pathlib import Path

from tests.integration.airflow_system import AirflowSystem
from tests.integration.audit_of import verified_entries
from tests.integration.conftest import on_sqlite

SEED = 20261125
KILLS = ("executor's child", "scheduler", "executor's child", "api-server")
LATER_THAN_A_RUNNER_WAITS = 12.0


def _kill(airflow: AirflowSystem, victim: str) -> None:
    """kill -9 of a part of Airflow; the scheduler starts another child by itself, the others are started again."""
    if victim == "executor's child":
        for child in airflow.executor_children():
            os.kill(child, signal.SIGKILL)
        return
    airflow.kill(victim)
    airflow.start_component(victim)


@on_sqlite
def test_every_attempt_has_its_begin_and_end_after_kills_at_random_moments(
    airflow: AirflowSystem, tmp_path: Path
) -> None:
    """Steps begin, fail, are retried and end all the while; whatever is killed, their log has each of it once."""
    chosen = random.Random(SEED)
    runs: dict[str, str] = {}

    def submit(count: int) -> None:
        for _ in range(count):
            trace = tmp_path / f"trace-{len(runs)}"
            trace.touch()
            sop, conf = chosen.choice([("flaky", {"failures": 2}), ("sleeper", {"seconds": 8})])
            runs[airflow.trigger(sop, trace=str(trace), **conf)] = sop

    submit(6)
    for victim in chosen.sample(KILLS, len(KILLS)):
        time.sleep(chosen.uniform(0.5, 4.0))
        _kill(airflow, victim)
        airflow.wait_for(lambda: airflow.api.health() is not None, "the API server to answer")
        submit(2)
    for run, sop in runs.items():
        assert airflow.wait_for_run(sop, run) == "success"
        entries = verified_entries(airflow, sop, run, tmp_path)
        begun = [entry.attempt for entry in entries if entry.kind == "attempt.begin" and entry.step in ("try", "sleep")]
        history = airflow.query(
            "SELECT COUNT(*) FROM task_instance_history WHERE run_id = :run AND task_id IN ('try', 'sleep')", run=run
        )
        assert len(begun) == history[0][0] + 1, "every try that Airflow knows of"
        if sop == "flaky":
            assert begun == [1, 2, 3]


@on_sqlite
def test_events_of_a_step_are_there_once_although_the_engine_hung_and_died(
    airflow: AirflowSystem, tmp_path: Path
) -> None:
    """The API server takes a batch and does not answer, later it does, twice; then it is killed and comes back."""
    trace, gate = tmp_path / "trace", tmp_path / "gate"
    trace.touch()
    with gate.open("w") as closed:
        fcntl.flock(closed, fcntl.LOCK_EX)
        run = airflow.trigger("once", trace=str(trace), gate=str(gate))
        airflow.wait_for(lambda: "start" in trace.read_text(), "the command to begin")
        group = airflow.components["api-server"].process.pid
        os.killpg(group, signal.SIGSTOP)
        try:
            time.sleep(LATER_THAN_A_RUNNER_WAITS)
        finally:
            os.killpg(group, signal.SIGCONT)
        seen = (
            "SELECT events_seen FROM sop_attempt WHERE step = 'note' AND execution_id = "
            "(SELECT id FROM sop_execution WHERE run_id = :run)"
        )
        airflow.wait_for(lambda: airflow.query(seen, run=run)[0][0], "the events of the step that still runs")
        airflow.kill("api-server")
    airflow.wait_for(lambda: "end" in trace.read_text(), "the command to end while there is no engine")
    airflow.start_component("api-server")
    airflow.wait_for(lambda: airflow.api.health() is not None, "the API server to be back")
    assert airflow.wait_for_run("once", run) == "success"
    entries = verified_entries(airflow, "once", run, tmp_path)
    assert [entry.kind for entry in entries if entry.step == "note"] == ["attempt.begin", "action", "attempt.end"]
