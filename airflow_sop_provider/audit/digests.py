"""Signed digests: proof of what all chains were at one moment, kept where the log's owner cannot change it.

A digest holds the root of a Merkle tree (RFC 6962's hashes) whose leaves are the heads of the chains that grew since
the digest before, and that digest's hash; so the newest one vouches for all of them. An execution's export holds its
own leaf and the path to the root: enough to verify it, and nothing about other executions.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from airflow_sop_provider.audit.canonical import NotCanonicalError, canonical, parse
from airflow_sop_provider.audit.ed25519 import verify

__all__ = [
    "DIGEST_FORMAT",
    "FIRST_DIGEST",
    "Digest",
    "Leaf",
    "SignedDigest",
    "climbs_to",
    "key_id_of",
    "path_to_root",
    "root_of",
]

DIGEST_FORMAT = "sop-audit-digest/v1"
FIRST_DIGEST = "0" * 64
"""What the first digest holds as its predecessor's hash."""


@dataclass(frozen=True, order=True)
class Leaf:
    """Where one chain stood: the number of its last entry and that entry's hash."""

    execution: str
    seq: int
    head: str

    def hash(self) -> bytes:
        """Return the leaf's hash in the tree."""
        return hashlib.sha256(b"\0" + canonical([self.execution, self.seq, self.head])).digest()


def root_of(leaves: Sequence[Leaf]) -> str:
    """Return the root (hex) of the tree over leaves that are sorted by execution."""
    return _tree([leaf.hash() for leaf in leaves]).hex()


def path_to_root(leaves: Sequence[Leaf], index: int) -> list[str]:
    """Return the hashes (hex) beside a leaf's way up, from the leaf to the root, each with its side: ``l`` or ``r``."""
    hashes = [leaf.hash() for leaf in leaves]
    path: list[str] = []
    while len(hashes) > 1:
        split = _split(len(hashes))
        if index < split:
            path.append("r" + _tree(hashes[split:]).hex())
            hashes = hashes[:split]
        else:
            path.append("l" + _tree(hashes[:split]).hex())
            hashes, index = hashes[split:], index - split
    return path[::-1]


def climbs_to(leaf: Leaf, path: Sequence[str], root: str) -> bool:
    """Tell whether a leaf's path leads to ``root``."""
    found = leaf.hash()
    try:
        for step in path:
            beside = bytes.fromhex(step[1:])
            found = _node(beside, found) if step[0] == "l" else _node(found, beside)
    except (ValueError, IndexError, TypeError):
        return False
    return found.hex() == root


def _split(count: int) -> int:
    """Return the largest power of two below ``count``."""
    return 1 << (count - 1).bit_length() - 1


def _node(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\1" + left + right).digest()


def _tree(hashes: Sequence[bytes]) -> bytes:
    if not hashes:
        return hashlib.sha256(b"").digest()
    if len(hashes) == 1:
        return hashes[0]
    split = _split(len(hashes))
    return _node(_tree(hashes[:split]), _tree(hashes[split:]))


@dataclass(frozen=True, kw_only=True)
class Digest:
    """What is signed.

    :param number: from 1, without a gap.
    :param previous: hash (hex) of the digest before.
    :param leaves: number of chains, ``root`` the tree's root over them.
    :param key: `key_id_of` the public key.
    """

    number: int
    time: str
    previous: str
    leaves: int
    root: str
    key: str
    format: str = DIGEST_FORMAT

    def body(self) -> bytes:
        """Return the canonical JSON that is signed and hashed."""
        return canonical(asdict(self))

    def hash(self) -> str:
        """Return the SHA-256 (hex) of the body, which the next digest holds."""
        return hashlib.sha256(self.body()).hexdigest()


@dataclass(frozen=True)
class SignedDigest:
    """A digest with its signature (hex)."""

    digest: Digest
    signature: str

    def is_signed_by(self, public_key: bytes) -> bool:
        """Tell whether the signature is that of the key's owner and the digest names this key."""
        try:
            signature = bytes.fromhex(self.signature)
        except ValueError:
            return False
        return self.digest.key == key_id_of(public_key) and verify(public_key, self.digest.body(), signature)

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return {"digest": asdict(self.digest), "signature": self.signature}

    def to_line(self) -> str:
        """Return it as canonical JSON."""
        return canonical(self.to_dict()).decode()

    @classmethod
    def from_line(cls, line: str | bytes) -> SignedDigest:
        """Read it from its canonical JSON.

        :raises NotCanonicalError: if it is none.
        """
        value = parse(line)
        try:
            digest = Digest(**value["digest"])
            if digest.format != DIGEST_FORMAT or set(value) != {"digest", "signature"}:
                raise TypeError(digest.format)
            return cls(digest, str(value["signature"]))
        except (TypeError, KeyError) as error:
            raise NotCanonicalError(f"This is no signed digest: {error}") from error


def key_id_of(public_key: bytes) -> str:
    """Return the name of a public key: the first 16 hex digits of its SHA-256."""
    return hashlib.sha256(public_key).hexdigest()[:16]
