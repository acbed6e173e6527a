"""The chart's NetworkPolicy, enforced: a step reaches the engine, the gateway and its model, and nothing else."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace

import pytest

from airflow_sop_provider.airflow_settings import read_settings
from airflow_sop_provider.contract import Assignment, AttemptKey, StepPayload
from airflow_sop_provider.engine.attempts import attempt_spec
from airflow_sop_provider.engine.failures import classify
from airflow_sop_provider.operators.pod_attempt import pod_manifest
from airflow_sop_provider.runtimes.kubernetes import KubernetesRuntime, connect_by_environment
from tests.helm.conftest import helm
from tests.kubernetes.conftest import Kubectl
from tests.kubernetes.killing import cluster_is_ours
from tests.kubernetes.test_chart import Release, release
from tests.kubernetes.test_runtime import finish, said
from tests.runtimes.steps import python
from tools.cluster import network_policies
from tools.cluster.daemons import Daemons
from tools.cluster.layout import NODE_ADDRESS, Layout
from tools.cluster.runner_image import runner_tag

__all__ = ["helm", "release"]

pytestmark = [pytest.mark.kubernetes, pytest.mark.timeout(600)]

ENGINE_PORT, FLEET_PORT, KUBELET_PORT = 8080, 8443, 10250
FLEET_LABELS = {"app": "fleet-gateway"}
_PROBE = """
import json, os, socket, time
for name, host, port in json.loads(os.environ["TARGETS"]):
    limit = time.monotonic() + 30
    wanted = "refused" if name.startswith("not") else "reached"
    said = ""
    while said != wanted and time.monotonic() < limit:
        try:
            socket.create_connection((host, port), timeout=2).close()
            said = "reached"
        except OSError:
            said = "refused"
        time.sleep(0.2 if said != wanted else 0)
    print(name, said, flush=True)
"""
"""Waits for the rules of a new pod, which kube-router makes once the pod has its address."""


@pytest.fixture
def enforced() -> Iterator[None]:
    """Policies enforced on our cluster's node; somebody else's cluster has its own way."""
    if not cluster_is_ours():
        yield
        return
    layout = Layout.default()
    daemons = Daemons(layout)
    ran = daemons.process(network_policies.ENGINE) is not None
    network_policies.start(layout, daemons)
    yield
    if not ran:
        network_policies.stop(daemons)


def listen(kubectl: Kubectl, name: str, labels: dict[str, str], *ports: int) -> None:
    """Start a pod that takes connections on each port."""
    program = (
        "import socket, sys, threading\n"
        "for port in sys.argv[1:]:\n"
        "    server = socket.create_server(('0.0.0.0', int(port)))\n"
        "    threading.Thread(target=lambda s=server: [s.accept() for _ in iter(int, 1)]).start()\n"
    )
    command = ["python", "-c", program, *map(str, ports)]
    container = {"name": "listen", "image": runner_tag(), "imagePullPolicy": "Never", "command": command}
    spec = {"containers": [container], "terminationGracePeriodSeconds": 0}
    kubectl.apply(apiVersion="v1", kind="Pod", metadata={"name": name, "labels": labels}, spec=spec)


def address(kubectl: Kubectl, name: str) -> str:
    kubectl("wait", "--for=condition=Ready", f"pod/{name}", "--timeout=180s")
    return str(kubectl.json("get", "pod", name)["status"]["podIP"])


async def test_a_step_reaches_the_engine_and_the_gateway_and_nothing_else(enforced: None, release: Release) -> None:
    release.upgrade("--set", f"networkPolicy.fleet.podLabels.app={FLEET_LABELS['app']}", "--set", "quota.create=false")
    listen(release.airflow, "engine", {"component": "api-server"}, ENGINE_PORT, ENGINE_PORT + 1)
    listen(release.airflow, "database", {"component": "database"}, ENGINE_PORT)
    listen(release.airflow, "gateway", FLEET_LABELS, FLEET_PORT)
    engine, database, gateway = (address(release.airflow, name) for name in ("engine", "database", "gateway"))
    targets = [
        ("engine", engine, ENGINE_PORT),
        ("gateway", gateway, FLEET_PORT),
        ("not the engine's other ports", engine, ENGINE_PORT + 1),
        ("not the database", database, ENGINE_PORT),
        ("not the node", NODE_ADDRESS, KUBELET_PORT),
    ]
    settings = replace(read_settings(), namespace=release.runners.namespace, image=runner_tag())
    step = python(_PROBE)
    step["command"]["env"] = {"TARGETS": json.dumps(targets)}
    key = AttemptKey(sop="test", run_id="r", step="a", attempt=1, task_instance_id="t")
    payload = StepPayload(kind="step", sop="test", version="1", digest="d", step={"id": "a", **step})
    work = Assignment(key=key, payload=payload)
    runtime = KubernetesRuntime(connect_by_environment(), namespace=release.runners.namespace)
    try:
        handle = await runtime.start(replace(attempt_spec(work, settings), pod=pod_manifest(work, settings)))
        outcome = await runtime.wait(handle)
        text = await said(runtime, handle)
        assert classify(outcome) is None, (outcome, text)
        reached = {
            name: line.removeprefix(f"{name} ") for name, *_ in targets for line in text if line.startswith(name)
        }
        assert reached == {name: "refused" if name.startswith("not") else "reached" for name, *_ in targets}, text
        await finish(runtime, release.runners, handle)
    finally:
        await runtime.close()
