"""Builds Kubernetes' programs from Go modules, once: the result is kept under the hash of what it was made from."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from collections.abc import Sequence
from pathlib import Path

from tools.cluster.problems import ClusterProblem, call

__all__ = ["PROGRAMS", "build", "build_module", "version"]

_MODULE = Path(__file__).parent / "go"
_KUBERNETES = "k8s.io/kubernetes"
PROGRAMS = ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet")


def version() -> str:
    """Return the version of Kubernetes that is built, such as ``v1.34.4``."""
    found = re.search(rf"{re.escape(_KUBERNETES)} (v[0-9.]+)", (_MODULE / "go.mod").read_text())
    if found is None:
        raise ClusterProblem("tools/cluster/go/go.mod does not require k8s.io/kubernetes.")
    return found.group(1)


def build(cache: Path) -> Path:
    """Return the folder of the programs; build what is missing (a quarter of an hour on two slow cores).

    :raises ClusterProblem: there is no Go, or the build failed.
    """
    packages = [f"{_KUBERNETES}/cmd/{program}" for program in PROGRAMS]
    return build_module(cache, f"kubernetes-{version()}", _MODULE, [*packages, "./pause"], flags=_flags())


def build_module(cache: Path, name: str, module: Path, packages: Sequence[str], *, flags: str = "-s -w") -> Path:
    """Return the folder of programs built from a Go module of this repository, under ``name`` and the module's hash.

    :param packages: what to build; in one call, because they share most of what they import.
    :param flags: for the linker.
    :raises ClusterProblem: there is no Go, or the build failed.
    """
    folder = cache / f"{name}-{_digest(module)}"
    if folder.exists():
        return folder
    if not shutil.which("go"):
        raise ClusterProblem("Go is not installed: it builds Kubernetes. Install Go 1.24 or newer, or set KUBECONFIG.")
    unfinished = folder.with_name(f"{folder.name}.unfinished")
    unfinished.mkdir(parents=True, exist_ok=True)
    # -mod=readonly and go.sum pin every module's content, so no other service has to vouch for it
    environment = {**os.environ, "CGO_ENABLED": "0", "GOFLAGS": "-mod=readonly", "GOSUMDB": "off", "GOWORK": "off"}
    command = ["go", "build", "-trimpath", "-ldflags", flags, "-o", f"{unfinished}/", *packages]
    call(command, environment=environment, cwd=str(module))
    unfinished.rename(folder)
    return folder


def _flags() -> str:
    """Return linker flags: no symbols, and the version a released binary would say."""
    major, minor, _ = version().removeprefix("v").split(".")
    said = {"gitVersion": version(), "gitMajor": major, "gitMinor": minor, "gitTreeState": "archive"}
    return " ".join(["-s -w", *(f"-X k8s.io/component-base/version.{name}={value}" for name, value in said.items())])


def _digest(module: Path) -> str:
    content = hashlib.sha256()
    for path in sorted(module.rglob("*")):
        if path.is_file():
            content.update(path.read_bytes())
    return content.hexdigest()[:12]
