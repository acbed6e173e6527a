"""The export of one execution: an archive that can be verified elsewhere, by somebody who has nothing of ours.

The same execution exported twice at one state gives the same bytes (sorted parts, one date), so two people can compare
theirs by their SHA-256.
"""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from airflow_sop_provider.audit.digests import Leaf, SignedDigest
from airflow_sop_provider.audit.entries import Entry
from airflow_sop_provider.audit.verifier_script import verifier_script

__all__ = ["EXPORT_FORMAT", "ExecutionExport", "Proof", "build_archive"]

EXPORT_FORMAT = "sop-export/v1"
_DATE = (1980, 1, 1, 0, 0, 0)  # the first that a zip can say


@dataclass(frozen=True, kw_only=True)
class Proof:
    """What ties a chain to a signed digest.

    :param path: from `digests.path_to_root`.
    :param public_key: 32 bytes.
    """

    signed: SignedDigest
    leaf: Leaf
    path: Sequence[str]
    public_key: bytes


@dataclass(frozen=True, kw_only=True)
class ExecutionExport:
    """Everything that an export holds.

    :param execution: ``sop/run_id``.
    :param document: the SOP's YAML, byte for byte as its digest says.
    :param attempts: JSON values of each attempt: times, state, image with digest, usage.
    :param versions: of runners and their packages, models and tools.
    :param proof: None where no digest covers the chain yet.
    """

    execution: str
    status: str
    inputs: Mapping[str, Any]
    outputs: Any
    document: str | None
    document_digest: str | None
    entries: Sequence[Entry]
    attempts: Sequence[Mapping[str, Any]] = ()
    versions: Mapping[str, Any] = field(default_factory=dict)
    proof: Proof | None = None


def build_archive(export: ExecutionExport) -> bytes:
    """Return the archive (zip)."""
    parts = {
        "audit.jsonl": "".join(f"{entry.to_line()}\n" for entry in export.entries),
        "inputs.json": _json(export.inputs),
        "outputs.json": _json(export.outputs),
        "attempts.json": _json(list(export.attempts)),
        "verify.py": verifier_script(),
    }
    if export.document is not None:
        parts["sop.yaml"] = export.document
    if export.proof is not None:
        leaf = export.proof.leaf
        parts["digest.json"] = export.proof.signed.to_line()
        parts["proof.json"] = _json({"leaf": [leaf.execution, leaf.seq, leaf.head], "path": list(export.proof.path)})
        parts["public_key.hex"] = f"{export.proof.public_key.hex()}\n"
    encoded = {name: text.encode() for name, text in parts.items()}
    manifest = {
        "format": EXPORT_FORMAT,
        "execution": export.execution,
        "status": export.status,
        "sop_digest": export.document_digest,
        "images": sorted({str(attempt["image"]) for attempt in export.attempts if attempt.get("image")}),
        "versions": dict(export.versions),
        "parts": {name: hashlib.sha256(data).hexdigest() for name, data in sorted(encoded.items())},
    }
    return _zip({"manifest.json": _json(manifest).encode(), **encoded})


def _zip(parts: Mapping[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in sorted(parts):
            info = zipfile.ZipInfo(name, _DATE)
            info.compress_type = zipfile.ZIP_DEFLATED
            info.external_attr = 0o644 << 16
            archive.writestr(info, parts[name])
    return buffer.getvalue()


def _json(value: Any) -> str:
    return json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
