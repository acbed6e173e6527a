"""Chains as executions leave them, for tests that tamper with them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import strategies as st

from airflow_sop_provider.audit.digests import FIRST_DIGEST, Digest, Leaf, SignedDigest, key_id_of, root_of
from airflow_sop_provider.audit.entries import AuditFields, Entry, chain_entry, hash_of

EXECUTION = "pay/manual__1"


def said(kind: str = "action", **parts: Any) -> AuditFields:
    return AuditFields(kind=kind, component="test", **{"message": kind, "time": "2026-01-01T00:00:00Z", **parts})


def chain(fields: Sequence[AuditFields], execution: str = EXECUTION) -> list[Entry]:
    entries: list[Entry] = []
    for seq, one in enumerate(fields, 1):
        entries.append(chain_entry(execution, entries[-1].hash if entries else None, seq, one))
    return entries


def finished(actions: int = 3, attempts: int = 1) -> list[Entry]:
    fields = [said("start")]
    for attempt in range(1, attempts + 1):
        where = {"step": "read", "map_index": -1, "attempt": attempt}
        fields.append(said("attempt.begin", **where))
        fields += [said(metadata={"n": n}, **where) for n in range(actions)]
        fields.append(said("attempt.end", **where))
    return chain([*fields, said("completion")])


def lines(entries: Sequence[Entry]) -> bytes:
    return "".join(f"{entry.to_line()}\n" for entry in entries).encode()


def rehashed(entry: Entry, **changes: Any) -> Entry:
    changed = replace(entry, **changes)
    return replace(changed, hash=hash_of(changed.to_dict()))


FINISHED = st.builds(finished, st.integers(0, 6), st.integers(1, 3))

KEY = Ed25519PrivateKey.from_private_bytes(b"k" * 32)
PUBLIC = KEY.public_key().public_bytes_raw()


def signed(leaves: Sequence[Leaf], number: int = 1, previous: str = FIRST_DIGEST) -> SignedDigest:
    digest = Digest(
        number=number,
        time="2026-01-01T00:00:00.000000Z",
        previous=previous,
        leaves=len(leaves),
        root=root_of(leaves),
        key=key_id_of(PUBLIC),
    )
    return SignedDigest(digest, KEY.sign(digest.body()).hex())
