"""etcd, API server, controller manager and scheduler."""

from __future__ import annotations

import subprocess
from pathlib import Path

import yaml

from tools.cluster.clients import kubectl
from tools.cluster.daemons import Daemons, wait_until
from tools.cluster.layout import CLUSTER_NETWORK, NODE_ADDRESS, SERVICE_NETWORK, Layout

__all__ = ["CONTROL_PLANE", "PACKING_PROFILE", "api_is_ready", "start"]

PACKING_PROFILE = Path(__file__).parents[2] / "helm" / "files" / "scheduler-profile.yaml"
"""The chart's."""

CONTROL_PLANE = ("kube-scheduler", "kube-controller-manager", "kube-apiserver", "etcd")
"""Names, in the order in which they are ended."""

_READY_SECONDS = 180.0

# Those that tests and the chart need: an idle controller costs a machine for development what a busy one does.
_CONTROLLERS = (
    "namespace-controller", "serviceaccount-controller", "serviceaccount-token-controller",
    "root-ca-certificate-publisher-controller", "pod-garbage-collector-controller", "node-lifecycle-controller",
    "taint-eviction-controller", "resourcequota-controller", "garbage-collector-controller", "disruption-controller",
    "deployment-controller", "replicaset-controller", "job-controller", "clusterrole-aggregation-controller",
)  # fmt: skip


def start(layout: Layout, programs: Path, daemons: Daemons) -> None:
    """Start what does not run; return once the API answers."""
    daemons.start("etcd", _etcd(layout))
    daemons.start("kube-apiserver", _api_server(layout, programs))
    wait_until(
        lambda: api_is_ready(layout),
        "the API server's start",
        seconds=_READY_SECONDS,
        check=lambda: daemons.check("etcd", "kube-apiserver"),
    )
    daemons.start("kube-controller-manager", _controller_manager(layout, programs))
    daemons.start("kube-scheduler", _scheduler(layout, programs))


def api_is_ready(layout: Layout) -> bool:
    """Return whether the API server says that it is ready."""
    command = [*kubectl(layout), "get", "--raw", "/readyz"]
    return subprocess.run(command, capture_output=True, check=False, timeout=60).returncode == 0


def _etcd(layout: Layout) -> list[str]:
    peers = "http://127.0.0.1:12380"
    return [
        "etcd", "--name=sop", f"--data-dir={layout.state('etcd')}", "--unsafe-no-fsync",
        f"--listen-client-urls={layout.etcd_url}", f"--advertise-client-urls={layout.etcd_url}",
        f"--listen-peer-urls={peers}", f"--initial-advertise-peer-urls={peers}", f"--initial-cluster=sop={peers}",
        "--quota-backend-bytes=2147483648", "--auto-compaction-retention=1h", "--logger=zap", "--log-level=warn",
    ]  # fmt: skip


def _api_server(layout: Layout, programs: Path) -> list[str]:
    keys = layout.certificates
    return [
        str(programs / "kube-apiserver"), f"--etcd-servers={layout.etcd_url}",
        "--bind-address=127.0.0.1", f"--secure-port={layout.api_url.rpartition(':')[2]}",
        f"--advertise-address={NODE_ADDRESS}", f"--service-cluster-ip-range={SERVICE_NETWORK}",
        f"--tls-cert-file={keys / 'apiserver.crt'}", f"--tls-private-key-file={keys / 'apiserver.key'}",
        f"--client-ca-file={keys / 'ca.crt'}", f"--kubelet-certificate-authority={keys / 'ca.crt'}",
        f"--kubelet-client-certificate={keys / 'apiserver-kubelet-client.crt'}",
        f"--kubelet-client-key={keys / 'apiserver-kubelet-client.key'}",
        "--kubelet-preferred-address-types=InternalIP",
        "--service-account-issuer=https://kubernetes.default.svc",
        f"--service-account-signing-key-file={keys / 'service-accounts.key'}",
        f"--service-account-key-file={keys / 'service-accounts.pub'}",
        "--authorization-mode=Node,RBAC", "--enable-admission-plugins=NodeRestriction",
        # needs etcd 3.5; refused at once, clients list instead, whereas a stream that fails makes them wait
        "--feature-gates=WatchList=false",
        "--max-requests-inflight=800", "--max-mutating-requests-inflight=400", "--event-ttl=1h",
    ]  # fmt: skip


def _controller_manager(layout: Layout, programs: Path) -> list[str]:
    return [
        str(programs / "kube-controller-manager"), *_client(layout, "kube-controller-manager"),
        "--secure-port=10257", "--use-service-account-credentials",
        f"--service-account-private-key-file={layout.certificates / 'service-accounts.key'}",
        f"--root-ca-file={layout.certificates / 'ca.crt'}", f"--cluster-cidr={CLUSTER_NETWORK}",
        f"--controllers={','.join(_CONTROLLERS)}", "--allocate-node-cidrs=false",
        "--node-monitor-grace-period=20s", "--terminated-pod-gc-threshold=12500",
    ]  # fmt: skip


def _scheduler(layout: Layout, programs: Path) -> list[str]:
    """Return the command; its configuration has the profile of the chart that packs, beside the usual one."""
    config = layout.config("kube-scheduler.yaml")
    config.write_text(yaml.safe_dump(_scheduler_config(layout)))
    return [
        str(programs / "kube-scheduler"),
        f"--config={config}",
        "--secure-port=10259",
        *_access(layout, "kube-scheduler"),
    ]


def _scheduler_config(layout: Layout) -> dict[str, object]:
    return {
        "apiVersion": "kubescheduler.config.k8s.io/v1",
        "kind": "KubeSchedulerConfiguration",
        "clientConnection": {"kubeconfig": str(layout.config("kube-scheduler.kubeconfig")), "qps": 200, "burst": 400},
        "leaderElection": {"leaderElect": False},
        "profiles": [{"schedulerName": "default-scheduler"}, yaml.safe_load(PACKING_PROFILE.read_text())],
    }


def _client(layout: Layout, name: str) -> list[str]:
    return [
        f"--kubeconfig={layout.config(f'{name}.kubeconfig')}", *_access(layout, name), "--leader-elect=false",
        "--kube-api-qps=200", "--kube-api-burst=400",
    ]  # fmt: skip


def _access(layout: Layout, name: str) -> list[str]:
    config = layout.config(f"{name}.kubeconfig")
    return [
        f"--authentication-kubeconfig={config}", f"--authorization-kubeconfig={config}", "--bind-address=127.0.0.1",
    ]  # fmt: skip
