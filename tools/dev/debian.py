"""Installs the Debian packages that tests and the cluster use, where they are missing and we may.

PostgreSQL for the tests with two schedulers, Graphviz for pictures of a graph, tmux to see a
terminal as a person does; with ``cluster`` as argument what a Kubernetes node is made of besides
Kubernetes itself. Standard library only: it runs before the environment exists.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

__all__ = ["CLUSTER_PACKAGES", "PACKAGES", "missing_packages"]

PACKAGES: dict[str, str] = {"postgresql": "initdb", "graphviz": "dot", "tmux": "tmux"}
"""Package -> program by which its presence is seen."""


CLUSTER_PACKAGES: dict[str, str] = {
    "containerd": "containerd",
    "runc": "runc",
    "containernetworking-plugins": "host-local",
    "etcd-server": "etcd",
    "iptables": "iptables",
    "ipset": "ipset",
    "iproute2": "ip",
    "mmdebstrap": "mmdebstrap",
    "podman": "podman",  # the container engine that tests of the Docker runtime use
}
"""The same for a cluster's node."""

_POLICY = Path("/usr/sbin/policy-rc.d")
"""Asked before a package's service is started (Debian Policy 9.3.3): a node's parts run as the cluster needs them."""


def missing_packages(exists: Callable[[str], bool] | None = None, packages: Mapping[str, str] = PACKAGES) -> list[str]:
    """Return the packages whose program is not there."""
    exists = exists or _exists
    return [package for package, program in packages.items() if not exists(program)]


def _exists(program: str) -> bool:
    # networking plugins are no commands; an administrator's programs may not be on PATH
    if shutil.which(program) or any(Path(folder, program).exists() for folder in ("/usr/sbin", "/usr/lib/cni")):
        return True
    return any(Path("/usr/lib/postgresql").glob(f"*/bin/{program}"))  # Debian keeps the server's programs off PATH


def _install(packages: Iterable[str]) -> int:
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    with _no_service_starts():
        return _call_apt(packages, environment)


@contextmanager
def _no_service_starts() -> Iterator[None]:
    ours = not _POLICY.exists()
    if ours:
        _POLICY.write_text("#!/bin/sh\nexit 101\n")
        _POLICY.chmod(0o755)
    try:
        yield
    finally:
        if ours:
            _POLICY.unlink(missing_ok=True)


def _call_apt(packages: Iterable[str], environment: Mapping[str, str]) -> int:
    for command in (["apt-get", "update", "-q"], ["apt-get", "install", "-q", "-y", *packages]):
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        if done.returncode:
            tail = (done.stderr.strip().splitlines() or ["no output"])[-1]
            print(f"sop: `{' '.join(command)}` failed: {tail}", file=sys.stderr)
            return 1
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Install what is missing, for tests or with ``cluster`` for a node; return the exit code."""
    chosen = sys.argv[1:] if arguments is None else arguments
    missing = missing_packages(packages=CLUSTER_PACKAGES if "cluster" in chosen else PACKAGES)
    if not missing:
        return 0
    names = " ".join(missing)
    if not shutil.which("apt-get") or os.geteuid() != 0:
        print(f"sop: this needs {names}: install it (Debian: sudo apt-get install {names}).", file=sys.stderr)
        return 1
    print(f"Installing {names} ...", flush=True)
    return _install(missing)


if __name__ == "__main__":
    raise SystemExit(main())
