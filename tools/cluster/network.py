"""The node's address, the pods' network, and the kernel settings that are the machine's and not ours to keep."""

from __future__ import annotations

import contextlib
import json
import subprocess
from pathlib import Path

from tools.cluster.layout import CLUSTER_NETWORK, NODE_ADDRESS, NODE_PODS, SERVICE_NETWORK, Layout
from tools.cluster.problems import ClusterProblem, call

__all__ = ["down", "up"]

_NODE_BRIDGE = "sop-node"
_POD_BRIDGE = "sop-pods"
_RULE = [
    "FORWARD", "-s", CLUSTER_NETWORK, "!", "-d", CLUSTER_NETWORK, "!", "-o", _NODE_BRIDGE,
    "-m", "comment", "--comment", "sop-cluster: pods do not leave the machine", "-j", "REJECT",
]  # fmt: skip
_KERNEL = ("vm/overcommit_memory", "kernel/panic", "kernel/panic_on_oops", "net/ipv4/ip_forward")
"""The first three are the kubelet's doing, for the whole machine."""


def up(layout: Layout) -> None:
    """Make the bridges' configuration, the routes and the rule that keeps pods inside."""
    _remember_kernel(layout)
    if not Path(f"/sys/class/net/{_NODE_BRIDGE}").exists():
        call(["ip", "link", "add", _NODE_BRIDGE, "type", "bridge"])
    call(["ip", "addr", "replace", f"{NODE_ADDRESS}/32", "dev", _NODE_BRIDGE])
    call(["ip", "link", "set", _NODE_BRIDGE, "up"])
    # what is sent to a pod that is gone must not leave by the machine's default route
    call(["ip", "route", "replace", "blackhole", CLUSTER_NETWORK])
    call(["ip", "route", "replace", SERVICE_NETWORK, "dev", _NODE_BRIDGE])
    Path("/proc/sys/net/ipv4/ip_forward").write_text("1")
    with contextlib.suppress(ClusterProblem):
        call(["iptables", "-D", *_RULE])
    call(["iptables", "-I", *_RULE])
    folder = layout.home / "cni"
    folder.mkdir(exist_ok=True)
    (folder / "10-pods.conflist").write_text(json.dumps(_pod_network(layout), indent=1))
    layout.config("resolv.conf").write_text(f"nameserver {NODE_ADDRESS}\n")


def down(layout: Layout) -> None:
    """Take away what `up` and the pods' network made, and put the kernel's settings back."""
    for command in (
        ["iptables", "-D", *_RULE],
        ["ip", "link", "del", _POD_BRIDGE],
        ["ip", "link", "del", _NODE_BRIDGE],
        ["ip", "route", "del", "blackhole", CLUSTER_NETWORK],
    ):
        subprocess.run(command, capture_output=True, check=False)  # gone already is as good
    file = layout.home / "kernel.json"
    if file.exists():
        for name, value in json.loads(file.read_text()).items():
            Path("/proc/sys", name).write_text(value)
        file.unlink()


def _remember_kernel(layout: Layout) -> None:
    file = layout.home / "kernel.json"
    if not file.exists():
        file.write_text(json.dumps({name: Path("/proc/sys", name).read_text() for name in _KERNEL}))


def _pod_network(layout: Layout) -> dict[str, object]:
    addresses = {
        "type": "host-local",
        "dataDir": str(layout.state("addresses")),
        "ranges": [[{"subnet": NODE_PODS}]],
        "routes": [{"dst": "0.0.0.0/0"}],
    }
    bridge = {"type": "bridge", "bridge": _POD_BRIDGE, "isGateway": True, "ipMasq": False, "hairpinMode": True}
    plugins = [{**bridge, "ipam": addresses}, {"type": "bandwidth", "capabilities": {"bandwidth": True}}]
    return {"cniVersion": "0.4.0", "name": "sop", "plugins": plugins}
