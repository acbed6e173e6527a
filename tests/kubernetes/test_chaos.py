"""kill -9 of everything while fifty executions run: each comes to its verdict, none succeeds twice, nothing is left."""

from __future__ import annotations

import os
import random
import time
from collections import Counter

import psutil
import pytest

from tests.integration.airflow_system import AirflowSystem
from tests.kubernetes.conftest import Kubectl
from tests.kubernetes.killing import ClusterKiller, cluster_is_ours
from tests.kubernetes.pod_observer import PodObserver

pytestmark = [
    pytest.mark.kubernetes,
    pytest.mark.alone,
    pytest.mark.timeout(3600),
    pytest.mark.skipif(not cluster_is_ours(), reason="a cluster of somebody else's is not ours to kill"),
]

EXECUTIONS = int(os.environ.get("SOP_CHAOS_EXECUTIONS", "50"))
SECONDS = int(os.environ.get("SOP_CHAOS_SECONDS", "60"))
"""How long each step takes: all of them are to run when something is killed."""
_FAILING = 5
"""Every fifth is told to fail for good."""
_PERMANENT = 65


def test_every_execution_comes_to_its_verdict(airflow: AirflowSystem, cluster: Kubectl, kubeconfig: str) -> None:
    seed = int(os.environ.get("SOP_CHAOS_SEED") or time.time())
    chance = random.Random(seed)
    print(f"SOP_CHAOS_SEED={seed} gives this order again")
    killer = ClusterKiller(chance)
    victims = {
        "scheduler": lambda: kill_scheduler(airflow),
        "executor child": lambda: kill_executor_child(airflow),
        "API server": killer.api_server,
        "kubelet": killer.kubelet,
        "container": killer.container,
        "node": killer.node,
    }
    order = [*victims, "container", "container"]
    chance.shuffle(order)
    with PodObserver(kubeconfig, cluster.namespace) as observer:
        endings = [_PERMANENT if number % _FAILING == 0 else 0 for number in range(EXECUTIONS)]
        runs = {airflow.trigger("chaos", seconds=SECONDS, ending=ending): ending for ending in endings}
        airflow.wait_for(lambda: running_pods(cluster) >= EXECUTIONS // 2, "half of the pods to run", seconds=1200)
        for victim in order:
            time.sleep(chance.uniform(0, 5))
            # a killed node leaves nothing to kill until its steps run again
            airflow.wait_for(lambda: running_pods(cluster) >= EXECUTIONS // 5, "some pods to run", seconds=600)
            print(f"{running_pods(cluster)} pods run; kill -9: {victim}", flush=True)
            victims[victim]()
        states = {run: airflow.wait_for_run("chaos", run, seconds=1800) for run in runs}
        airflow.wait_for(lambda: not cluster.left(), "pods and Secrets to go", seconds=600)
    tries = Counter(airflow.step("chaos", run, "work").attempt for run in runs)
    print(f"attempts: {dict(tries)}")
    wrong = {run: states[run] for run, ending in runs.items() if states[run] != ("failed" if ending else "success")}
    for run in wrong:
        print(run, *airflow.log_lines("chaos", run, "work"), sep="\n  ")
    assert wrong == {}
    succeeded = observer.successes()
    assert {run: len(succeeded.get((run, "work"), [])) for run, ending in runs.items() if not ending} == {
        run: 1 for run, ending in runs.items() if not ending
    }
    assert [run for run, ending in runs.items() if ending and succeeded.get((run, "work"))] == []
    assert cluster.left() == []


def running_pods(cluster: Kubectl) -> int:
    return len(cluster("get", "pods", "--field-selector=status.phase=Running", "-o", "name").split())


def kill_scheduler(airflow: AirflowSystem) -> None:
    airflow.kill("scheduler")
    airflow.start_component("scheduler")


def kill_executor_child(airflow: AirflowSystem) -> None:
    children = airflow.wait_for(airflow.executor_children, "the executor's child")
    for pid in children:
        psutil.Process(pid).kill()
