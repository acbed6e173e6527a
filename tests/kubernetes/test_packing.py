"""Property 30 in a cluster: the real scheduler fills one node after the other where a step's pod asks for that."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from airflow_sop_provider.runtimes import AttemptSpec
from tests.kubernetes.conftest import Kubectl
from tests.kubernetes.killing import cluster_is_ours
from tests.runtimes.steps import shell

pytestmark = [
    pytest.mark.kubernetes,
    pytest.mark.timeout(300),
    pytest.mark.skipif(not cluster_is_ours(), reason="the profile is that of our own scheduler"),
]

NODES, CORES = 3, 8


@pytest.fixture
def nodes(kubectl: Kubectl) -> Iterator[dict[str, str]]:
    """Nodes that nobody runs, which the scheduler takes for real as long as this lasts; returns what selects them."""
    label = {"sop-packing": uuid.uuid4().hex[:8]}
    names = [f"packing-{label['sop-packing']}-{number}" for number in range(NODES)]
    room = {"cpu": str(CORES), "memory": "64Gi", "pods": "110"}
    try:
        for name in names:
            node: dict[str, Any] = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": label},
                                    "spec": {"taints": [{"key": "sop-packing", "effect": "NoSchedule"}]}}  # fmt: skip
            kubectl("create", "-f", "-", stdin=json.dumps(node))
            status = {"allocatable": room, "capacity": room, "conditions": [{"type": "Ready", "status": "True"}]}
            kubectl("patch", "node", name, "--subresource=status", "--type=merge", "-p", json.dumps({"status": status}))
        yield label
    finally:
        kubectl("delete", "pods", "--all", "--force", "--grace-period=0", check=False)
        kubectl("delete", "nodes", *names, "--wait=false", check=False)


async def _placed(runtime: Any, kubectl: Kubectl, specs: list[AttemptSpec]) -> list[int]:
    """How many pods each node has, the fullest first, once all are placed."""
    names = {(await runtime.start(spec)).name for spec in specs}
    for _ in range(600):
        pods = kubectl.json("get", "pods")["items"]
        found = Counter(one["spec"].get("nodeName") for one in pods if one["metadata"]["name"] in names)
        if found[None] == 0 and found.total() == len(names):
            return sorted(found.values(), reverse=True)
        await asyncio.sleep(0.2)
    raise AssertionError(f"not all were placed: {found}")


async def test_steps_are_packed_onto_as_few_nodes_as_hold_them(
    runtime: Any, attempt: Any, kubectl: Kubectl, nodes: dict[str, str]
) -> None:
    def specs(scheduler: str, count: int) -> list[AttemptSpec]:
        made: list[AttemptSpec] = []
        for number in range(count):
            spec = attempt(shell("sleep 600"), cpu_millis=1000, memory_bytes=1 << 28)
            spec.pod["spec"] |= {"schedulerName": scheduler, "nodeSelector": nodes}
            spec.pod["spec"] |= {"tolerations": [{"operator": "Exists"}]}
            made.append(replace(spec, name=f"{scheduler}-{number}"))
        return made

    packed = await _placed(runtime, kubectl, specs("sop-bin-packing", CORES + 2))
    assert packed == [CORES, 2], "one is full before another is begun"
    kubectl("delete", "pods", "--all", "--force", "--grace-period=0")
    spread = await _placed(runtime, kubectl, specs("default-scheduler", NODES * 2))
    assert spread == [2] * NODES
