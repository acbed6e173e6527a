"""What an installed Python environment says about itself, and whether its files are still what was installed.

The source is `importlib.metadata` only, so the answers are those of the running interpreter and
need no network. Kept apart from the MCP server, which only names and publishes these functions.
RECORD is parsed here rather than read through ``Distribution.files``: from Python 3.12 on that
property leaves out files that do not exist, which are exactly the ones a review must report.
"""

from __future__ import annotations

import base64
import csv
import hashlib
import re
from collections.abc import Iterable, Iterator
from importlib import metadata
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict

__all__ = ["PATHS_LIMIT", "Environment", "LicenceStatement", "PackageRecord", "PackageSummary"]

PATHS_LIMIT = 100
"""Paths listed per package and kind of finding, so that one broken package cannot flood a step's outputs."""

_HASHES = frozenset({"sha256", "sha384", "sha512"})
"""Algorithms RECORD may use (wheel specification: sha256 or better)."""

LicenceSource = Literal["expression", "classifier", "field", "none"]


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True)


class PackageSummary(_Model):
    """One installed distribution.

    :param licence: what it states about its licence, None when it states nothing usable.
    :param files: files named in RECORD.
    """

    name: str
    version: str
    licence: str | None
    licence_source: LicenceSource
    files: int


class LicenceStatement(_Model):
    """Everything a distribution's metadata says about its licence, unjudged."""

    name: str
    version: str
    licence: str | None
    licence_source: LicenceSource
    expression: str | None
    classifiers: list[str]
    licence_files: list[str]


class PackageRecord(_Model):
    """Outcome of hashing every file of one distribution's RECORD.

    :param recorded: False without a RECORD; then nothing was checked.
    :param files_without_hash: entries RECORD gives no hash for (itself, byte code, installer's marks).
    :param mismatched: paths as in RECORD whose content has another hash.
    :param missing: paths as in RECORD that do not exist or cannot be read.
    :param truncated: True if more than `PATHS_LIMIT` paths of a kind were found and the rest left out.
    """

    name: str
    version: str
    recorded: bool
    files_checked: int = 0
    bytes_checked: int = 0
    files_without_hash: int = 0
    mismatched: list[str] = []
    missing: list[str] = []
    truncated: bool = False

    @property
    def intact(self) -> bool:
        """True if there was a RECORD and every hash in it holds."""
        return self.recorded and not self.mismatched and not self.missing


class Environment:
    """The distributions of one environment, first on the path wins, sorted by normalised name.

    :param folder: a site-packages folder, None for the running interpreter's path.
    """

    def __init__(self, folder: Path | None = None) -> None:
        found = metadata.distributions() if folder is None else metadata.distributions(path=[str(folder)])
        self._by_name: dict[str, metadata.Distribution] = {}
        for distribution in found:
            if name := _field(distribution, "Name"):
                self._by_name.setdefault(_normalised(name), distribution)

    def __len__(self) -> int:
        return len(self._by_name)

    @property
    def names(self) -> list[str]:
        """Names as the distributions spell them, sorted by normalised name."""
        return [_field(self._by_name[key], "Name") or key for key in sorted(self._by_name)]

    def select(self, names: Iterable[str]) -> tuple[list[metadata.Distribution], list[str]]:
        """Return the named distributions, once each, and the names that are not installed."""
        found: dict[str, metadata.Distribution] = {}
        absent: list[str] = []
        for name in names:
            distribution = self._by_name.get(_normalised(name))
            if distribution is None:
                absent.append(name)
            else:
                found[_normalised(name)] = distribution
        return [found[key] for key in sorted(found)], absent


def summarise(distribution: metadata.Distribution) -> PackageSummary:
    """Return a distribution in one line."""
    statement = licence_of(distribution)
    return PackageSummary(
        name=statement.name,
        version=statement.version,
        licence=statement.licence,
        licence_source=statement.licence_source,
        files=sum(1 for _ in _record(distribution)),
    )


def licence_of(distribution: metadata.Distribution) -> LicenceStatement:
    """Return what the metadata says about the licence; an SPDX expression counts before older forms."""
    fields = distribution.metadata
    expression = _field(distribution, "License-Expression")
    classifiers = [line for line in fields.get_all("Classifier") or [] if line.startswith("License ::")]
    licence, source = _best(expression, classifiers, _field(distribution, "License"))
    return LicenceStatement(
        name=fields["Name"],
        version=distribution.version,
        licence=licence,
        licence_source=source,
        expression=expression,
        classifiers=classifiers,
        licence_files=fields.get_all("License-File") or [],
    )


def verify(distribution: metadata.Distribution) -> PackageRecord:
    """Read and hash every file RECORD gives a hash for."""
    name, version = distribution.metadata["Name"], distribution.version
    if distribution.read_text("RECORD") is None:
        return PackageRecord(name=name, version=version, recorded=False)
    checked = total = without_hash = 0
    mismatched: list[str] = []
    missing: list[str] = []
    for path, algorithm, expected in _record(distribution):
        if algorithm not in _HASHES:
            without_hash += 1
            continue
        found = _hash(Path(str(distribution.locate_file(path))), algorithm)
        if found is None:
            missing.append(path)
            continue
        checked, total = checked + 1, total + found[1]
        if found[0] != expected.rstrip("="):
            mismatched.append(path)
    return PackageRecord(
        name=name,
        version=version,
        recorded=True,
        files_checked=checked,
        bytes_checked=total,
        files_without_hash=without_hash,
        mismatched=mismatched[:PATHS_LIMIT],
        missing=missing[:PATHS_LIMIT],
        truncated=max(len(mismatched), len(missing)) > PATHS_LIMIT,
    )


def _field(distribution: metadata.Distribution, name: str) -> str | None:
    values = distribution.metadata.get_all(name)  # indexing raises for an absent field from Python 3.14 on
    return values[0] if values else None


def _normalised(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()  # PEP 503


def _record(distribution: metadata.Distribution) -> Iterator[tuple[str, str, str]]:
    """Yield (path, hash algorithm, hash) of each RECORD entry; the last two are empty without a hash."""
    for row in csv.reader((distribution.read_text("RECORD") or "").splitlines()):
        if row:
            algorithm, _, value = (row[1] if len(row) > 1 else "").partition("=")
            yield row[0], algorithm, value


def _hash(path: Path, algorithm: str) -> tuple[str, int] | None:
    """Return (urlsafe base64 digest without padding, bytes read), None if the file cannot be read."""
    try:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, algorithm).digest()
            return base64.urlsafe_b64encode(digest).rstrip(b"=").decode(), file.tell()
    except OSError:
        return None


def _best(expression: str | None, classifiers: list[str], field: str | None) -> tuple[str | None, LicenceSource]:
    if expression:
        return expression, "expression"
    stated = [line.rsplit(" :: ", 1)[-1] for line in classifiers]
    if stated := [name for name in stated if name != "OSI Approved"]:  # names no licence
        return " OR ".join(stated), "classifier"
    text = (field or "").strip()
    if text and "\n" not in text and len(text) <= PATHS_LIMIT and text.upper() != "UNKNOWN":
        return text, "field"
    return None, "none"
