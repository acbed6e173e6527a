"""Where the cluster's files live, and the addresses it uses."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

__all__ = ["CLUSTER_NETWORK", "NODE_ADDRESS", "NODE_NAME", "NODE_PODS", "SERVICE_NETWORK", "Layout"]

NODE_NAME = "sop-node"
NODE_ADDRESS = "10.245.0.1"
"""The kubelet refuses a loopback address; this one exists on a bridge without ports, so nothing outside reaches it."""
CLUSTER_NETWORK = "10.244.0.0/16"
NODE_PODS = "10.244.0.0/23"
SERVICE_NETWORK = "10.96.0.0/16"


@dataclass(frozen=True)
class Layout:
    """Folders of one cluster.

    :param home: everything that is no download: certificates, state, logs, process ids.
    :param cache: what is expensive to make and can be kept: binaries, base images.
    """

    home: Path
    cache: Path

    @classmethod
    def default(cls) -> Layout:
        """Return the machine's one: ``SOP_CLUSTER_HOME``, and ``SOP_CACHE`` for what outlives a checkout."""
        cache = Path(os.environ.get("SOP_CACHE") or Path.home() / ".cache" / "sop-engine")
        home = Path(os.environ.get("SOP_CLUSTER_HOME") or cache / "cluster-state")
        return cls(home=home.absolute(), cache=(cache / "cluster").absolute())

    @property
    def kubeconfig(self) -> Path:
        """Kubeconfig of an administrator."""
        return self.config("admin.kubeconfig")

    @property
    def certificates(self) -> Path:
        """Folder of keys and certificates."""
        return self.home / "certificates"

    @property
    def containerd_socket(self) -> Path:
        """Containerd's socket; short, as a socket's path may have 107 bytes only."""
        return Path("/run/sop-cluster/containerd.sock")

    @property
    def api_url(self) -> str:
        """The API server's address."""
        return "https://127.0.0.1:16443"

    @property
    def etcd_url(self) -> str:
        """The etcd server's address."""
        return "http://127.0.0.1:12379"

    def config(self, name: str) -> Path:
        """Return the path of a configuration file."""
        return self.home / "config" / name

    def log(self, name: str) -> Path:
        """Return the path of a component's log."""
        return self.home / "logs" / f"{name}.log"

    def state(self, name: str) -> Path:
        """Return the folder of a component's state."""
        return self.home / "state" / name

    def make(self) -> None:
        """Make the folders; only their owner may look inside, keys are among them."""
        self.home.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.cache.mkdir(parents=True, exist_ok=True)
        for name in ("config", "logs", "state", "run", "certificates"):
            (self.home / name).mkdir(mode=0o700, exist_ok=True)
