"""SOPs on a real Airflow whose steps are pods of a real cluster."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator

import pytest

from tests.integration.airflow_system import SOPS, AirflowSystem
from tests.integration.conftest import bundles
from tests.kubernetes.conftest import Kubectl
from tools.cluster.runner_image import runner_tag
from tools.dev.environment import ROOT

pytestmark = [pytest.mark.kubernetes, pytest.mark.timeout(1800)]

NAMESPACE = "sop-airflow-test"
_TRACE = "/tmp/trace"


@pytest.fixture(scope="module")
def cluster(program: str) -> Iterator[Kubectl]:
    """A namespace for this Airflow."""
    kubectl = Kubectl(program, NAMESPACE)
    kubectl("create", "namespace", NAMESPACE, check=False)
    yield kubectl
    kubectl("delete", "namespace", NAMESPACE, "--wait=false", check=False)


@pytest.fixture(scope="module")
def airflow(cluster: Kubectl, tmp_path_factory: pytest.TempPathFactory) -> Iterator[AirflowSystem]:
    folder = tmp_path_factory.mktemp("airflow-kubernetes")
    sops = folder / "sops"
    shutil.copytree(SOPS, sops)
    shutil.copy(ROOT / "sops" / "software-licence-review.yaml", sops)
    options = bundles(sops)
    image = os.environ.get("SOP_RUNNER_IMAGE") or runner_tag()
    options["sop"] = {
        "runtime": "kubernetes", "namespace": NAMESPACE, "image": image,
        "paused_upon_creation": "False", "refresh_seconds": "2",
    }  # fmt: skip
    system = AirflowSystem(folder / "home", sops=sops, overrides=options)
    try:
        system.start()
        yield system
    finally:
        system.stop()


def nothing_left(airflow: AirflowSystem, cluster: Kubectl) -> None:
    airflow.wait_for(lambda: not cluster.left(), "pods and Secrets to go")


def test_the_sample_runs_in_pods_and_leaves_nothing(airflow: AirflowSystem, cluster: Kubectl) -> None:
    run, state = airflow.run("software-licence-review", seconds=1200, group_size=40)
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
