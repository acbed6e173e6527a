"""A node that is lost: its kubelet says nothing any more, later somebody removes the node.

The node is one without a kubelet from the beginning, so that no other test loses its pods; the API server and the
controllers that notice it, mark its pods and at last collect them are the real ones.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from airflow_sop_provider.contract import ErrorType
from airflow_sop_provider.engine.failures import classify
from airflow_sop_provider.runtimes import AttemptSpec
from airflow_sop_provider.runtimes.kubernetes import KubernetesRuntime
from tests.kubernetes.conftest import Kubectl
from tests.kubernetes.test_runtime import finish
from tests.runtimes.steps import shell

pytestmark = [pytest.mark.kubernetes, pytest.mark.timeout(600)]

_PATIENCE_SECONDS = 300


@pytest.fixture
def node(kubectl: Kubectl) -> Iterator[str]:
    """Name of a node that was ready a moment ago and that the scheduler gives nothing."""
    name = f"{kubectl.namespace}-node"
    kubectl.apply(apiVersion="v1", kind="Node", metadata={"name": name}, spec={"unschedulable": True})
    ready = {"type": "Ready", "status": "True", "reason": "KubeletReady", "lastHeartbeatTime": now()}
    patch_status(kubectl, "node", name, {"conditions": [ready | {"lastTransitionTime": now()}]})
    yield name
    kubectl("delete", "node", name, "--ignore-not-found", check=False)


def now() -> str:
    return f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"


def patch_status(kubectl: Kubectl, kind: str, name: str, status: dict[str, Any]) -> None:
    """Say something as the kubelet would."""
    kubectl("patch", kind, name, "--subresource=status", "--type=merge", "-p", json.dumps({"status": status}))


async def until(look: Callable[[], Any]) -> None:
    async with asyncio.timeout(_PATIENCE_SECONDS):
        while not await asyncio.to_thread(look):  # noqa: ASYNC110  of a server
            await asyncio.sleep(1)


async def test_a_pod_on_it_is_given_up_when_nothing_of_it_can_run_any_more_and_not_before(
    runtime: KubernetesRuntime, attempt: Callable[..., AttemptSpec], kubectl: Kubectl, node: str
) -> None:
    spec = attempt(shell("sleep 600"))
    assert spec.pod is not None
    unreachable = {"key": "node.kubernetes.io/unreachable", "operator": "Exists", "effect": "NoExecute"}
    spec.pod["spec"] |= {"nodeName": node, "tolerations": [unreachable | {"tolerationSeconds": 1}]}
    handle = await runtime.start(spec)
    running = {"name": "base", "ready": True, "started": True, "state": {"running": {"startedAt": now()}}}
    running |= {"image": "i", "imageID": "i", "restartCount": 0}
    patch_status(kubectl, "pod", handle.name, {"phase": "Running", "containerStatuses": [running]})
    waiting = asyncio.create_task(runtime.wait(handle))
    await until(lambda: kubectl.json("get", "pod", handle.name)["metadata"].get("deletionTimestamp"))
    await asyncio.sleep(2)
    assert not waiting.done(), "whoever cannot be reached may still be at work: a second pod would do it twice"
    kubectl("delete", "node", node)
    outcome = await waiting
    failure = classify(outcome)
    assert failure is not None
    assert (failure.type, outcome.evidence["reason"], outcome.evidence["node"]) == (ErrorType.CRASH, "NodeLost", node)
    await finish(runtime, kubectl, handle)
