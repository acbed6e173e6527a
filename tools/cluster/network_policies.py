"""Enforces NetworkPolicies on the node: of kube-router only what turns them into rules of the kernel's packet filter.

The plugin that connects the pods (`network`) knows nothing of policies. kube-router is taken because it is one program
that builds from Go modules and needs of the kernel what is there, iptables and ipset; others need nft_queue or eBPF.
It runs on demand and not with every cluster: it writes rules for every pod whose node has this node's address, so
also for thousands of simulated ones, and questions of scale would be about it. A pod's rules come a moment after its
address; whoever needs them from the first packet on takes a network plugin that makes both at once.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

from tools.cluster.binaries import build_module
from tools.cluster.daemons import Daemons, wait_until
from tools.cluster.layout import NODE_NAME, SERVICE_NETWORK, Layout
from tools.cluster.problems import ClusterProblem, call

__all__ = ["ENGINE", "start", "stop", "without_rules"]

_MODULE = Path(__file__).parent / "router"
ENGINE = "kube-router"
"""Name of the process."""
_CHAINS = ("KUBE-ROUTER-", "KUBE-NWPLCY-", "KUBE-POD-FW-")
"""Prefixes of its chains; ``KUBE-`` alone are the kubelet's, too."""
_SETS = ("KUBE-SRC-", "KUBE-DST-")
_FIRST_RULES_SECONDS = 90.0


def start(layout: Layout, daemons: Daemons) -> None:
    """Start it unless it runs; return once its rules are there.

    :raises ClusterProblem: there is no cluster of `make cluster`, or it does not start.
    """
    if daemons.process("kube-apiserver") is None:
        raise ClusterProblem("there is no cluster on this machine; run `make cluster` first.")
    folder = build_module(layout.cache, ENGINE, _MODULE, ["github.com/cloudnativelabs/kube-router/v2/cmd/kube-router"])
    command = [
        str(folder / "kube-router"), f"--kubeconfig={layout.kubeconfig}", f"--hostname-override={NODE_NAME}",
        "--run-firewall=true", "--run-router=false", "--run-service-proxy=false", "--run-loadbalancer=false",
        "--enable-cni=false", f"--service-cluster-ip-range={SERVICE_NETWORK}", "--health-port=0", "--metrics-port=0",
    ]  # fmt: skip
    daemons.start(ENGINE, command)
    wait_until(
        lambda: _CHAINS[0] in call(["iptables-save", "-t", "filter"]),
        "the first rules for NetworkPolicies",
        seconds=_FIRST_RULES_SECONDS,
        check=lambda: daemons.check(ENGINE),
    )


def stop(daemons: Daemons) -> None:
    """End it and take its rules away: they would go on to hold for addresses that other pods get."""
    daemons.stop(ENGINE)
    table = _output("iptables-save", "-t", "filter")
    if any(prefix in table for prefix in _CHAINS):
        _output("iptables-restore", "-T", "filter", given=without_rules(table))
    for name in _output("ipset", "list", "-n").split():
        if name.startswith(_SETS):
            _output("ipset", "destroy", name)


def without_rules(table: str) -> str:
    """Return a table as `iptables-save` writes it without the chains of kube-router and what leads to them."""
    return "".join(line for line in table.splitlines(True) if not any(prefix in line for prefix in _CHAINS))


def _output(*command: str, given: str | None = None) -> str:
    """Return what a command prints; nothing where it is not installed, because then nothing of it is there to end."""
    try:
        return subprocess.run(command, input=given, capture_output=True, text=True, check=False).stdout
    except FileNotFoundError:
        return ""
