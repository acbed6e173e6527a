"""Container images without a container engine: layers as tar files, an image as docker-archive of them.

The format is the one of `docker save` (Docker Image Specification v1.2), which containerd, podman and Docker load.
"""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

__all__ = ["write_archive", "write_layer"]

_BLOCK = 1024 * 1024


def write_layer(target: Path, folder: Path, *, prefix: str) -> None:
    """Write a folder as a layer below ``prefix``: owned by root, without times, so equal content is an equal layer."""
    with tarfile.open(target, "w", format=tarfile.PAX_FORMAT) as tar:
        parts = prefix.strip("/").split("/") if prefix.strip("/") else []
        for depth in range(1, len(parts) + 1):
            entry = tarfile.TarInfo("/".join(parts[:depth]))
            entry.type, entry.mode = tarfile.DIRTYPE, 0o755
            tar.addfile(entry)
        for path in sorted(folder.rglob("*")):
            tar.add(path, arcname="/".join([*parts, str(path.relative_to(folder))]), recursive=False, filter=_plain)


def write_archive(target: Path, layers: Sequence[Path], config: Mapping[str, Any], tags: Sequence[str]) -> None:
    """Write an image.

    :param layers: tar files, the lowest first.
    :param config: the image's ``config``: user, environment, entry point.
    :param tags: names with tag.
    """
    digests = [_sha256(layer) for layer in layers]
    image = {
        "architecture": "amd64",
        "os": "linux",
        "config": dict(config),
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}" for digest in digests]},
        "history": [{"created": "1970-01-01T00:00:00Z", "created_by": layer.stem} for layer in layers],
    }
    content = json.dumps(image, sort_keys=True).encode()
    name = f"{hashlib.sha256(content).hexdigest()}.json"
    manifest = [{"Config": name, "RepoTags": list(tags), "Layers": [f"{digest}.tar" for digest in digests]}]
    unfinished = target.with_suffix(".unfinished")
    with tarfile.open(unfinished, "w") as tar:
        _add(tar, name, content)
        for layer, digest in zip(layers, digests, strict=True):
            tar.add(layer, arcname=f"{digest}.tar", filter=_plain)
        _add(tar, "manifest.json", json.dumps(manifest).encode())
    unfinished.replace(target)


def _plain(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = ""
    entry.mtime = 0
    return entry


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = len(content)
    tar.addfile(entry, io.BytesIO(content))


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()
