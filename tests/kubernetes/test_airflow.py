"""SOPs on a real Airflow whose steps are pods of a real cluster."""

from __future__ import annotations

import pytest

from tests.integration.airflow_system import AirflowSystem
from tests.kubernetes.conftest import Kubectl

pytestmark = [pytest.mark.kubernetes, pytest.mark.alone, pytest.mark.timeout(1800)]

_TRACE = "/tmp/trace"


def nothing_left(airflow: AirflowSystem, cluster: Kubectl) -> None:
    airflow.wait_for(lambda: not cluster.left(), "pods and Secrets to go")


def test_the_sample_runs_in_pods_and_leaves_nothing(airflow: AirflowSystem, cluster: Kubectl) -> None:
    run, state = airflow.run("software-licence-review", seconds=1200, group_size=120)
    assert state == "success", airflow.step_states("software-licence-review", run)
    nothing_left(airflow, cluster)


def test_outputs_reach_later_steps(airflow: AirflowSystem, cluster: Kubectl) -> None:
    run, state = airflow.run("compute-chain")
    assert state == "success", airflow.step_states("compute-chain", run)
    nothing_left(airflow, cluster)


def test_a_scheduler_killed_while_pods_run_finds_them_again(airflow: AirflowSystem, cluster: Kubectl) -> None:
    run = airflow.trigger("sleeper", trace=_TRACE, seconds=30)
    airflow.wait_for(lambda: "tick 1" in airflow.log_lines("sleeper", run, "sleep"), "the first line")
    airflow.kill("scheduler")
    airflow.start_component("scheduler")
    assert airflow.wait_for_run("sleeper", run) == "success"
    ticks = [line for line in airflow.log_lines("sleeper", run, "sleep") if line.startswith("tick ")]
    assert ticks == [f"tick {number}" for number in range(1, 21)]
    assert airflow.step("sleeper", run, "sleep").attempt == 1
    nothing_left(airflow, cluster)


def test_cancelling_ends_the_pod(airflow: AirflowSystem, cluster: Kubectl) -> None:
    run = airflow.trigger("sleeper", trace=_TRACE, seconds=600)
    airflow.wait_for(lambda: "tick 1" in airflow.log_lines("sleeper", run, "sleep"), "the log of a running step")
    airflow.request("PATCH", f"/api/v2/dags/sleeper/dagRuns/{run}/taskInstances/sleep", json={"new_state": "failed"})
    assert airflow.wait_for_run("sleeper", run) == "failed"
    nothing_left(airflow, cluster)
