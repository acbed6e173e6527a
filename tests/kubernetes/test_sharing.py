"""What a cluster does for several steps at once: who starts first, what is packed together, what is given back."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from airflow_sop_provider.engine.failures import classify
from tests.kubernetes.conftest import Kubectl
from tests.kubernetes.injector import injector
from tests.kubernetes.killing import cluster_is_ours
from tests.kubernetes.test_runtime import finish
from tests.kubernetes.test_trouble import BUSY, has_begun
from tests.runtimes.steps import shell

pytestmark = [pytest.mark.kubernetes, pytest.mark.timeout(600)]

PRIORITIES = {"low": 100, "normal": 1000, "critical": 100_000}


@pytest.mark.skipif(not cluster_is_ours(), reason="a webhook on this host is reached by our own API server only")
async def test_a_webhook_that_injects_a_sidecar_does_not_change_what_comes_of_a_step(
    runtime, attempt, kubectl: Kubectl, tmp_path: Path
) -> None:
    with injector(tmp_path, kubectl.namespace) as webhook:
        kubectl.apply(**webhook)
        try:
            names: list[str] = []
            for _ in range(50):  # the API server takes a moment to know of it
                handle = await runtime.start(attempt({"compute": {"a": "1"}}))
                names = [one["name"] for one in kubectl.json("get", "pod", handle.name)["spec"]["containers"]]
                outcome = await runtime.wait(handle)
                await finish(runtime, kubectl, handle)
                assert (classify(outcome), outcome.verdict.outputs) == (None, {"a": 1})
                if names == ["proxy", "base"]:
                    break
            assert names == ["proxy", "base"]
        finally:
            kubectl("delete", "mutatingwebhookconfiguration", webhook["metadata"]["name"], check=False)


@pytest.mark.alone
async def test_among_waiting_steps_the_higher_priority_starts_first(runtime, attempt, kubectl: Kubectl) -> None:
    """Properties 17 and 18 in the cluster; and 30: what a step had is given to the next one at its end."""
    classes = {name: f"{kubectl.namespace}-{name}" for name in PRIORITIES}
    for name, value in PRIORITIES.items():
        # nobody's place is taken: this is about the order of those who wait
        kubectl.apply(
            apiVersion="scheduling.k8s.io/v1", kind="PriorityClass", metadata={"name": classes[name]}, value=value,
            preemptionPolicy="Never",
        )  # fmt: skip
    node = kubectl.json("get", "nodes", "-l", "!sop-simulated")["items"][0]
    millis = int(node["status"]["allocatable"]["cpu"]) * 1000 * 2 // 3
    try:
        first = attempt(BUSY, cpu_millis=millis)
        first.pod["spec"]["priorityClassName"] = classes["critical"]
        blocking = await runtime.start(first)
        await has_begun(runtime, blocking)
        waiting = {}
        for name in PRIORITIES:  # the lowest asks first
            spec = attempt(shell("sleep 1"), cpu_millis=millis)
            spec.pod["spec"]["priorityClassName"] = classes[name]
            waiting[name] = await runtime.start(spec)
        await asyncio.sleep(2)
        states = {one["metadata"]["name"]: one["spec"].get("nodeName") for one in kubectl.json("get", "pods")["items"]}
        assert [states[handle.name] for handle in waiting.values()] == [None] * 3, "queued, as nothing is free"
        await runtime.stop(blocking, grace=1)
        await runtime.remove(blocking)
        outcomes = {name: await runtime.wait(handle) for name, handle in waiting.items()}
        assert [classify(outcome) for outcome in outcomes.values()] == [None] * 3
        order = sorted(outcomes, key=lambda name: outcomes[name].ended_at)
        assert order == ["critical", "normal", "low"]
        for handle in waiting.values():
            await runtime.remove(handle)
    finally:
        kubectl("delete", "priorityclass", *classes.values(), "--wait=false", check=False)
