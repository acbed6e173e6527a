"""SOPs run to their result on a real Airflow: UI's REST API in, outputs and logs out."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from tests.integration.airflow_system import AirflowSystem
from tests.integration.begun import Begun
from tests.integration.conftest import on_sqlite


def test_chain_with_inputs(begun: Begun) -> None:
    execution = begun["chain"]
    assert execution.state() == "success"
    assert execution.outputs("report") == {"text": "the answer is 10", "run": execution.run}


@on_sqlite
def test_defaults_apply(begun: Begun) -> None:
    assert begun["defaults"].state() == "success"
    assert begun["defaults"].outputs("add") == {"value": 42}


def test_fan_out_keeps_the_order_of_items(begun: Begun) -> None:
    execution = begun["fan-out"]
    assert execution.state() == "success"
    assert [execution.outputs("square", index)["value"] for index in range(4)] == [0, 1, 4, 9]
    assert execution.outputs("total") == {"sum": 14}


@on_sqlite
@pytest.mark.parametrize(("taken", "left"), [("quick", "thorough"), ("thorough", "quick")])
def test_branch(begun: Begun, taken: str, left: str) -> None:
    execution = begun[taken]
    assert execution.state() == "success"
    states = execution.step_states()
    assert (states[taken], states[left]) == ("success", "skipped")
    assert execution.outputs("report") == {"way": taken}


@on_sqlite
def test_conf_is_checked_when_the_run_is_created(airflow: AirflowSystem) -> None:
    airflow.wait_for_dag("compute-chain")
    answer = airflow.request(
        "POST", "/api/v2/dags/compute-chain/dagRuns", json={"logical_date": None, "conf": {"number": "many"}}
    )
    assert answer.status_code in (400, 422)
    assert "number" in answer.text


def test_transient_failures_are_retried_after_exactly_1_and_2_seconds(airflow: AirflowSystem, begun: Begun) -> None:
    execution = begun["transient"]
    assert execution.state() == "success"
    assert execution.attempt("try") == 3
    # The REST API of Airflow 3.3 does not show these two columns of the history yet.
    history = airflow.query(
        "SELECT retry_delay_override, retry_reason FROM task_instance_history"
        " WHERE dag_id = 'flaky' AND task_id = 'try' AND run_id = :run ORDER BY try_number",
        run=execution.run,
    )
    assert [delay for delay, _ in history] == [1, 2]
    assert history[0][1].startswith("transient failure: retry 1 of 3 in 1 s (command-failed")
    assert history[1][1].startswith("transient failure: retry 2 of 3 in 2 s (command-failed")
    first, second, third = (float(line) for line in execution.trace.read_text().split())
    assert second - first >= 1.0
    assert third - second >= 2.0


def test_permanent_failure_at_once(begun: Begun) -> None:
    execution = begun["permanent"]
    assert execution.state() == "failed"
    assert execution.attempt("try") == 1
    assert execution.step_states()["after"] == "upstream_failed"
    assert len(execution.trace.read_text().splitlines()) == 1


@on_sqlite
def test_exhausted_retries_fail_after_four_attempts(begun: Begun) -> None:
    assert begun["exhausted"].state() == "failed"
    assert len(begun["exhausted"].trace.read_text().splitlines()) == 4


def test_log_is_complete_and_each_line_once(begun: Begun) -> None:
    assert begun["talk"].state() == "success"
    lines = [line for line in begun["talk"].log_lines("talk") if line.startswith("line-")]
    assert lines == [f"line-{number}" for number in range(1, 3001)]


@on_sqlite
def test_log_appears_while_the_step_runs(airflow: AirflowSystem, trace: Path) -> None:
    airflow.wait_until_quiet()
    run = airflow.trigger("sleeper", trace=str(trace), seconds=60)
    airflow.wait_for_step("sleeper", run, "sleep", "running")
    airflow.wait_for(lambda: "tick 2" in airflow.log_lines("sleeper", run, "sleep"), "the log of a running step")
    assert airflow.step("sleeper", run, "sleep").state == "running"
    airflow.api.cancel("sleeper", run)
    airflow.wait_until_quiet()


@pytest.mark.parametrize("how", ["mark failed", "clear"])
def test_cancelling_or_clearing_ends_the_process_group(airflow: AirflowSystem, trace: Path, how: str) -> None:
    airflow.wait_until_quiet()
    run = airflow.trigger("sleeper", trace=str(trace), seconds=120)
    airflow.wait_for_step("sleeper", run, "sleep", "running")
    airflow.wait_for(lambda: "start" in trace.read_text(), "the command to begin")
    before = set(airflow.attempt_processes())
    assert before
    began = time.monotonic()
    if how == "mark failed":
        airflow.api.cancel("sleeper", run)
    else:
        airflow.request(
            "POST",
            "/api/v2/dags/sleeper/clearTaskInstances",
            json={"dry_run": False, "dag_run_id": run, "task_ids": ["sleep"], "only_failed": False},
        )
    airflow.wait_for(lambda: not before & set(airflow.attempt_processes()), "the process group to end")
    print(f"{how}: process group gone {time.monotonic() - began:.2f} s after the call began")
    said = airflow.task_logs / f"dag_id=sleeper/run_id={run}/task_id=sleep/attempt=1.log"
    airflow.wait_for(lambda: "Stopped: " in said.read_text(), "the log to say so")
    if how == "clear":
        # The cleared step is tried again, by itself, in a process of its own.
        airflow.wait_for(lambda: trace.read_text().count("start") == 2, "the step to start again")
        airflow.api.cancel("sleeper", run)
        airflow.wait_until_quiet()
    assert "end" not in trace.read_text()


@on_sqlite
def test_nothing_is_left_of_finished_steps(airflow: AirflowSystem) -> None:
    airflow.run("single")
    attempts = airflow.home / "sop" / "attempts"
    airflow.wait_for(lambda: not [p for p in attempts.iterdir() if p.name.startswith("sop-single-")], "folders to go")


@on_sqlite
def test_yaml_is_what_the_code_tab_shows(airflow: AirflowSystem) -> None:
    airflow.wait_for_dag("single")
    answer = airflow.request("GET", "/api/v2/dagSources/single")
    assert "compute: {value:" in json.dumps(answer.json())
