"""Nodes by the dozen that are not there: the API server and the scheduler are the real ones, kwok plays the kubelets.

For questions of scale: thousands of pods that are scheduled, run and succeed, and cost this machine nothing but
what they cost the control plane and whoever follows them. What pods do stands in ``kwok/stages.yaml``. Simulated nodes
have a taint, so that no other pod comes there, and a label by which pods choose them.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from tools.cluster.binaries import build_module
from tools.cluster.clients import kubectl
from tools.cluster.daemons import Daemons, wait_until
from tools.cluster.layout import NODE_ADDRESS, Layout
from tools.cluster.problems import ClusterProblem, call

__all__ = ["LOG_PORT", "NODE_LABEL", "SIMULATION", "TOLERATION", "hold", "start", "stop"]

_MODULE = Path(__file__).parent / "kwok"
SIMULATION = ("kwok", "simulated-logs")
"""Names of the processes."""
NODE_LABEL = {"sop-simulated": "yes"}
TOLERATION = {"key": "sop-simulated", "operator": "Exists", "effect": "NoSchedule"}
LOG_PORT = 10260
"""As in ``stages.yaml``, where it is the port of the nodes' kubelets."""
_READY_SECONDS = 120.0
_HELD_LINE = "# while held"


def start(layout: Layout, daemons: Daemons, nodes: int) -> None:
    """Start what does not run and make the nodes; return once they are ready.

    :raises ClusterProblem: there is no cluster of `make cluster`, or something does not start.
    """
    if daemons.process("kube-apiserver") is None:
        raise ClusterProblem("there is no cluster on this machine; run `make cluster` first.")
    logs = [sys.executable, "-m", "tools.cluster.simulated_logs"]
    daemons.start("simulated-logs", logs)
    hold(layout, daemons, held=True)
    listed = {"apiVersion": "v1", "kind": "List", "items": [_node(number) for number in range(nodes)]}
    subprocess.run([*kubectl(layout), "apply", "-f", "-"], input=json.dumps(listed), text=True, check=True,
                   stdout=subprocess.DEVNULL)  # fmt: skip
    ready = [*kubectl(layout), "get", "nodes", "-l", "sop-simulated", "-o",
             "jsonpath={.items[*].status.conditions[?(@.type=='Ready')].status}"]  # fmt: skip
    wait_until(
        lambda: call(ready).split().count("True") >= nodes,
        "the simulated nodes' start",
        seconds=_READY_SECONDS,
        check=lambda: daemons.check(*SIMULATION),
    )


def hold(layout: Layout, daemons: Daemons, *, held: bool) -> None:
    """Let steps called ``hold`` go on without end, or end: kwok is started anew with or without that rule."""
    stages = (_MODULE / "stages.yaml").read_text()
    if not held:
        stages = "".join(line for line in stages.splitlines(keepends=True) if _HELD_LINE not in line)
    config = layout.config("stages.yaml")
    if daemons.process("kwok") is not None and config.read_text() == stages:
        return
    config.write_text(stages)
    daemons.stop("kwok")
    folder = build_module(layout.cache, "kwok", _MODULE, ["sigs.k8s.io/kwok/cmd/kwok"])
    command = [
        str(folder / "kwok"), f"--kubeconfig={layout.kubeconfig}", f"--config={config}",
        "--manage-all-nodes=false", "--manage-nodes-with-label-selector=sop-simulated",
        f"--node-ip={NODE_ADDRESS}", "--server-address=127.0.0.1:10247", "--node-lease-duration-seconds=40",
        "--cidr=10.250.0.0/16",
    ]  # fmt: skip
    daemons.start("kwok", command)


def stop(layout: Layout, daemons: Daemons) -> None:
    """Remove the nodes and end the processes."""
    nodes = [*kubectl(layout), "delete", "nodes", "-l", "sop-simulated", "--wait=false"]
    subprocess.run(nodes, capture_output=True, check=False)  # gone with the cluster is as good
    for name in SIMULATION:
        daemons.stop(name)


def _node(number: int) -> dict[str, object]:
    name = f"simulated-{number:03}"
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "labels": {**NODE_LABEL, "kubernetes.io/hostname": name}},
        "spec": {"taints": [{"key": TOLERATION["key"], "value": "yes", "effect": TOLERATION["effect"]}]},
    }
