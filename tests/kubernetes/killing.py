"""kill -9 of a cluster's parts: the API server, the kubelet, a container, the whole node."""

from __future__ import annotations

import contextlib
import random
import time
from pathlib import Path

import psutil

from tools.cluster import control_plane, node
from tools.cluster.binaries import build
from tools.cluster.daemons import Daemons
from tools.cluster.layout import Layout

__all__ = ["ClusterKiller", "cluster_is_ours"]


def cluster_is_ours() -> bool:
    """Return whether the cluster is the one of `make cluster`, whose processes may be killed."""
    return Daemons(Layout.default()).process("kube-apiserver") is not None


class ClusterKiller:
    """Kills parts of the cluster of `make cluster`, and starts them again as their supervisor would.

    :param chance: chooses what there are several of.
    """

    def __init__(self, chance: random.Random) -> None:
        self._layout = Layout.default()
        self._daemons = Daemons(self._layout)
        self._programs = build(self._layout.cache)
        self._chance = chance

    def api_server(self) -> None:
        """Kill the API server, and return when a new one answers."""
        self._kill("kube-apiserver")
        control_plane.start(self._layout, self._programs, self._daemons)

    def kubelet(self) -> None:
        """Kill the kubelet, and return when a new one has the node ready."""
        self._kill("kubelet")
        node.start_kubelet(self._layout, self._programs, self._daemons)

    def container(self) -> None:
        """Kill a runner in its container, from outside."""
        runners = [process for process in _in_pods() if "airflow_sop_provider.runner" in " ".join(_command(process))]
        if runners:
            _kill(self._chance.choice(runners))

    def node(self) -> None:
        """Kill all that runs on the node, as when its power fails, and return when it is back."""
        self._kill("kubelet")
        self._kill("containerd")
        for process in psutil.process_iter():
            if str(self._layout.containerd_socket) in " ".join(_command(process)):  # a container's shim
                _kill(process)
        for process in _in_pods():
            _kill(process)
        node.start_containerd(self._layout, self._daemons)
        node.start_kubelet(self._layout, self._programs, self._daemons)

    def _kill(self, name: str) -> None:
        process = self._daemons.process(name)
        assert process is not None, f"{name} does not run"
        process.kill()
        while self._daemons.process(name) is not None:
            time.sleep(0.05)


def _in_pods() -> list[psutil.Process]:
    """Return the processes in control groups of the kubelet's."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(OSError):
            if "/kubepods" in Path(f"/proc/{process.pid}/cgroup").read_text():
                found.append(process)
    return found


def _command(process: psutil.Process) -> list[str]:
    with contextlib.suppress(psutil.Error):
        return process.cmdline()
    return []


def _kill(process: psutil.Process) -> None:
    with contextlib.suppress(psutil.Error):
        process.kill()
