"""containerd and the kubelet: the cluster's one real node."""

from __future__ import annotations

import contextlib
import json
import subprocess
from datetime import UTC, datetime
from pathlib import Path

from tools.cluster.clients import kubectl
from tools.cluster.daemons import Daemons, wait_until
from tools.cluster.layout import NODE_ADDRESS, NODE_NAME, Layout
from tools.cluster.problems import ClusterProblem, call

__all__ = ["NODE", "PAUSE_IMAGE", "ctr", "start_containerd", "start_kubelet", "stop_containers", "unmount"]

NODE = ("kubelet", "containerd")
"""Names, in the order in which they are ended."""

PAUSE_IMAGE = "localhost/pause:1"
_START_SECONDS = 180.0
_CONTAINERD_IS_STARTING = "server is not initialized yet"
"""A kubelet's last words if containerd still looks through the containers it finds."""

# No CAP_SYS_RESOURCE: scores of the out-of-memory killer can be raised and never lowered.
_CONTAINERD = """\
version = 2
root = "{state}"
state = "{run}/state"
[grpc]
  address = "{socket}"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{pause}"
  restrict_oom_score_adj = true
  disable_apparmor = true
  disable_tcp_service = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "{cni}"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "overlayfs"
    default_runtime_name = "runc"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
        SystemdCgroup = false
"""


def start_containerd(layout: Layout, daemons: Daemons) -> None:
    """Start containerd with state and socket of its own; return once it answers."""
    run = layout.containerd_socket.parent
    run.mkdir(mode=0o711, exist_ok=True)
    config = layout.config("containerd.toml")
    config.write_text(
        _CONTAINERD.format(
            state=layout.state("containerd"),
            run=run,
            socket=layout.containerd_socket,
            pause=PAUSE_IMAGE,
            cni=layout.home / "cni",
        )
    )
    daemons.start("containerd", ["containerd", "--config", str(config)])
    wait_until(
        lambda: subprocess.run(ctr(layout, "version"), capture_output=True, check=False).returncode == 0,
        "containerd's start",
        seconds=_START_SECONDS,
        check=lambda: daemons.check("containerd"),
    )


def start_kubelet(layout: Layout, programs: Path, daemons: Daemons) -> None:
    """Start the kubelet; return once its node is ready and takes pods."""
    config = layout.config("kubelet.json")
    config.write_text(json.dumps(_kubelet(layout), indent=1))
    command = [
        str(programs / "kubelet"), f"--config={config}", f"--kubeconfig={layout.config('kubelet.kubeconfig')}",
        f"--root-dir={layout.state('kubelet')}", f"--cert-dir={layout.state('kubelet') / 'pki'}",
        f"--hostname-override={NODE_NAME}", f"--node-ip={NODE_ADDRESS}",
    ]  # fmt: skip
    anew = daemons.process("kubelet") is None
    began = datetime.now(UTC)
    daemons.start("kubelet", command)
    ready = "jsonpath={.status.conditions[?(@.type=='Ready')].status}"
    gets = [*kubectl(layout), "get"]
    lease = [*gets, "lease", NODE_NAME, "--namespace=kube-node-lease", "-o", "jsonpath={.spec.renewTime}"]
    looks = ([*gets, "node", NODE_NAME, "-o", ready], [*gets, "serviceaccount", "default"], lease)

    def look() -> bool:
        found = [subprocess.run(look, capture_output=True, text=True, check=False) for look in looks]
        # the API goes on saying that a node is ready for most of a minute after its kubelet has died
        alive = not anew or (found[2].stdout != "" and datetime.fromisoformat(found[2].stdout) > began)
        return found[0].stdout == "True" and found[1].returncode == 0 and alive

    def check() -> None:
        if daemons.process("kubelet") is None and _CONTAINERD_IS_STARTING in layout.log("kubelet").read_text()[-1000:]:
            daemons.start("kubelet", command)
        daemons.check("kubelet")

    wait_until(look, "the node's start", seconds=_START_SECONDS, check=check)


def stop_containers(layout: Layout) -> None:
    """End what the kubelet has left running; containerd must still run."""
    for what, ending in (("tasks", ["rm", "--force"]), ("containers", ["rm"])):
        listed = subprocess.run(ctr(layout, what, "list", "-q"), capture_output=True, text=True, check=False)
        for name in listed.stdout.split():
            subprocess.run(ctr(layout, what, *ending, name), capture_output=True, check=False)


def ctr(layout: Layout, *arguments: str) -> list[str]:
    """Return a command of containerd's client in Kubernetes' namespace."""
    return ["ctr", "--address", str(layout.containerd_socket), "--namespace", "k8s.io", *arguments]


def unmount(layout: Layout) -> None:
    """Unmount what containers and pods had mounted, the innermost first."""
    below = (str(layout.home), str(layout.containerd_socket.parent))
    mounts = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()]
    for mount in sorted((mount for mount in mounts if mount.startswith(below)), reverse=True):
        with contextlib.suppress(ClusterProblem):  # unmounted by its owner meanwhile
            call(["umount", "--lazy", mount])


def _kubelet(layout: Layout) -> dict[str, object]:
    keys = layout.certificates
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": NODE_ADDRESS,
        "healthzBindAddress": "127.0.0.1",
        "tlsCertFile": str(keys / "kubelet.crt"),
        "tlsPrivateKeyFile": str(keys / "kubelet.key"),
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True},
            "x509": {"clientCAFile": str(keys / "ca.crt")},
        },
        "authorization": {"mode": "Webhook"},
        "containerRuntimeEndpoint": f"unix://{layout.containerd_socket}",
        "cgroupDriver": "cgroupfs",
        "failCgroupV1": False,
        "failSwapOn": False,
        "oomScoreAdj": 0,
        "maxPods": 200,
        "maxOpenFiles": 20000,
        "kubeAPIQPS": 50,
        "kubeAPIBurst": 100,
        "serializeImagePulls": False,
        "imageGCHighThresholdPercent": 100,  # images were imported, nobody could pull them again
        "evictionHard": {"memory.available": "200Mi", "nodefs.available": "1%", "imagefs.available": "1%"},
        "makeIPTablesUtilChains": False,
        "resolvConf": str(layout.config("resolv.conf")),
    }
