"""Verifies what an audit log left behind, offline: an export, the lines of a chain, a folder of digests.

Three layers, each of which the one before cannot see: a chain's own hashes; that begin, end and completion of
everything are there; and that signed digests, which were written elsewhere, hold the same heads as the chain. What is
not covered by a digest is said, not passed over. The key in an export only shows that it is consistent: whoever wants
to know who signed compares it with the key that the engine publishes (``--key``).
"""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from airflow_sop_provider.audit.canonical import NotCanonicalError, parse
from airflow_sop_provider.audit.chain_check import Problem, check_chain, check_complete, read_chain
from airflow_sop_provider.audit.digests import FIRST_DIGEST, Leaf, SignedDigest, climbs_to, root_of
from airflow_sop_provider.audit.entries import SYSTEM_CHAIN, Entry

__all__ = ["Report", "UnreadableError", "verify_path"]

_PART_LIMIT = 1 << 30
_OPEN_STATES = ("SUBMITTED", "QUEUED", "RUNNING")


class UnreadableError(ValueError):
    """What was given is nothing that can be verified."""


@dataclass
class Report:
    """What was found.

    :param problems: each of them means that the log is not to be trusted as it is.
    :param notes: what a reader has to know although it is no problem.
    """

    problems: list[Problem] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    chains: int = 0
    entries: int = 0
    digests: int = 0

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problems


def verify_path(path: Path, *, key: bytes | None = None, digests: Path | None = None) -> Report:
    """Verify an export (zip), the lines of chains (JSONL) or a folder of digests.

    :param key: the public key that must have signed; None takes the one that lies beside.
    :param digests: folder of digests that the chains are compared with.
    :raises UnreadableError: it is none of these.
    :raises OSError: it cannot be read.
    """
    report = Report()
    leaves: list[Leaf] = []
    if digests is not None:
        leaves = _digest_folder(digests, key, report)
    if path.is_dir():
        _digest_folder(path, key, report)
    elif zipfile.is_zipfile(path):
        _archive(path, key, leaves, report)
    else:
        _lines(path.read_bytes(), path.name, leaves, report)
    return report


def _lines(data: bytes, name: str, leaves: Sequence[Leaf], report: Report, *, running: bool = False) -> list[Entry]:
    entries, problems = read_chain(data, name)
    if not entries and data[:1] != b"{":
        raise UnreadableError(f"{name} is neither an export nor the lines of an audit chain.")
    report.problems += problems
    for execution in dict.fromkeys(entry.execution for entry in entries):
        own = [entry for entry in entries if entry.execution == execution]
        report.chains, report.entries = report.chains + 1, report.entries + len(own)
        report.problems += check_chain(execution, own)
        if running:
            report.notes.append(f"{execution} was still running: its log goes on after this export.")
        elif not execution.startswith(SYSTEM_CHAIN):
            report.problems += check_complete(execution, own)
        report.problems += _heads(execution, own, [leaf for leaf in leaves if leaf.execution == execution])
        report.notes += [f"{execution}: {e.message}" for e in own if e.kind == "prune"]
    return entries


def _heads(execution: str, entries: Sequence[Entry], leaves: Iterable[Leaf]) -> list[Problem]:
    """Compare a chain with what signed digests say of it; the first digest that differs bounds where it was changed."""
    by_seq = {entry.seq: entry for entry in entries}
    first, last = min(by_seq, default=1), max(by_seq, default=0)
    good = 0
    for leaf in sorted(leaves, key=lambda leaf: leaf.seq):
        entry = by_seq.get(leaf.seq)
        if leaf.seq > last:
            return [Problem("truncated", f"A digest saw entry {leaf.seq}; the chain ends here.", execution, last)]
        if entry is not None and entry.hash != leaf.head:
            message = f"Its hash is not the one a digest signed: entries {good + 1} to {leaf.seq} were written anew."
            return [Problem("head", message, execution, leaf.seq)]
        if leaf.seq >= first:
            good = leaf.seq
    return []


def _archive(path: Path, key: bytes | None, leaves: Sequence[Leaf], report: Report) -> None:
    with zipfile.ZipFile(path) as archive:
        parts = {info.filename: archive.read(info) for info in archive.infolist() if info.file_size <= _PART_LIMIT}
    manifest = _json(parts, "manifest.json")
    named = manifest.get("parts")
    if not isinstance(named, dict):
        raise UnreadableError("manifest.json does not name the export's parts.")
    for name, digest in named.items():
        if name not in parts:
            report.problems.append(Problem("part", f"{name} is missing."))
        elif hashlib.sha256(parts[name]).hexdigest() != digest:
            report.problems.append(Problem("part", f"{name} is not what the manifest says."))
    for name in sorted(parts.keys() - named.keys() - {"manifest.json"}):
        report.problems.append(Problem("part", f"{name} is not named by the manifest."))
    running = manifest.get("status") in _OPEN_STATES
    lines = parts.get("audit.jsonl", b"")
    entries = _lines(lines, "audit.jsonl", leaves, report, running=running) if lines else []
    for entry in [e for e in entries if e.execution != manifest.get("execution")][:1]:
        report.problems.append(Problem("foreign", "It is not of the execution the manifest names.", entry.execution))
    _document(parts, entries, report)
    if not entries:
        report.problems.append(Problem("truncated", "The export has no audit chain.", str(manifest.get("execution"))))
    _proof(parts, key, entries, report)


def _document(parts: dict[str, bytes], entries: Sequence[Entry], report: Report) -> None:
    """Check that the SOP in the export is the one that the chain's start names."""
    found = hashlib.sha256(parts["sop.yaml"]).hexdigest() if "sop.yaml" in parts else None
    for entry in entries:
        named = entry.metadata.get("digest")
        if entry.kind == "start" and found is not None and named is not None and named != found:
            message = "sop.yaml is not the document that was executed."
            report.problems.append(Problem("part", message, entry.execution, entry.seq))


def _proof(parts: dict[str, bytes], key: bytes | None, entries: Sequence[Entry], report: Report) -> None:
    """Check the digest of an export and that its tree holds the chain's head."""
    if "digest.json" not in parts:
        report.notes.append("No signed digest covers this export: it proves what it holds, not that it ends here.")
        return
    try:
        signed = SignedDigest.from_line(parts["digest.json"])
        proof = _json(parts, "proof.json")
        leaf = Leaf(*proof["leaf"])
        path = list(proof["path"])
    except (NotCanonicalError, UnreadableError, KeyError, TypeError) as error:
        report.problems.append(Problem("digest", f"The digest or its proof cannot be read: {error}"))
        return
    report.digests += 1
    report.problems += _signature(signed, key if key is not None else _key(parts.get("public_key.hex", b"")))
    if key is None:
        report.notes.append(f"Signed with key {signed.digest.key}, which the export brings along; compare it.")
    if not climbs_to(leaf, path, signed.digest.root):
        report.problems.append(Problem("digest", "The digest's tree does not hold this chain's head.", leaf.execution))
    execution = entries[0].execution if entries else leaf.execution
    if leaf.execution != execution:
        report.problems.append(Problem("digest", f"The proof is about {leaf.execution}.", execution))
    report.problems += _heads(execution, entries, [leaf])
    last = max((entry.seq for entry in entries), default=0)
    if last > leaf.seq:
        report.notes.append(f"Entries {leaf.seq + 1} to {last} are newer than digest {signed.digest.number}.")


def _digest_folder(folder: Path, key: bytes | None, report: Report) -> list[Leaf]:
    """Check digests one after the other and return all their leaves."""
    files = sorted(folder.glob("digest-*.json"))
    if not files:
        raise UnreadableError(f"{folder} holds no digests (digest-*.json).")
    if key is None:
        key_file = folder / "public_key.hex"
        key = _key(key_file.read_bytes() if key_file.exists() else b"")
        report.notes.append("The key lies beside the digests; compare it with the one the engine publishes.")
    before, number, all_leaves = FIRST_DIGEST, 0, []
    for file in files:
        try:
            signed = SignedDigest.from_line(file.read_bytes())
            leaves = [Leaf(*parse(line)) for line in _leaf_lines(file)]
        except (NotCanonicalError, TypeError) as error:
            report.problems.append(Problem("digest", f"{file.name} cannot be read: {error}"))
            continue
        digest = signed.digest
        report.digests += 1
        if digest.number != number + 1:
            report.problems.append(Problem("digest", f"Between digests {number} and {digest.number} some are missing."))
        elif digest.previous != before:
            report.problems.append(Problem("digest", f"Digest {digest.number} does not follow the one before it."))
        report.problems += _signature(signed, key)
        if len(leaves) != digest.leaves or root_of(leaves) != digest.root:
            report.problems.append(Problem("digest", f"The leaves of digest {digest.number} are not those it signed."))
        before, number = digest.hash(), digest.number
        all_leaves += leaves
    return all_leaves


def _leaf_lines(file: Path) -> list[bytes]:
    try:
        return file.with_suffix(".leaves.jsonl").read_bytes().splitlines()
    except FileNotFoundError:
        return []


def _signature(signed: SignedDigest, key: bytes) -> list[Problem]:
    if signed.is_signed_by(key):
        return []
    return [Problem("signature", f"Digest {signed.digest.number} is not signed with the key given.")]


def _key(text: bytes) -> bytes:
    try:
        return bytes.fromhex(text.decode().strip())
    except ValueError:
        return b""


def _json(parts: dict[str, bytes], name: str) -> dict[str, Any]:
    try:
        value = json.loads(parts[name])
    except (KeyError, ValueError) as error:
        raise UnreadableError(f"The archive is no export: {name} is missing or no JSON.") from error
    if not isinstance(value, dict):
        raise UnreadableError(f"The archive is no export: {name} is no JSON object.")
    return value
