"""Making signed digests of the chains that have grown, and noticing a chain that is broken.

Before a chain's head is signed, the entries since its last digest are checked: a digest never vouches for a chain that
does not hold. A broken chain is escalated through the outbox in the same transaction, once for each place, and stays
unsigned.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import func, insert, select, update
from sqlalchemy.orm import Session

from airflow_sop_provider.audit.canonical import canonical
from airflow_sop_provider.audit.digests import FIRST_DIGEST, Digest, Leaf, SignedDigest, path_to_root, root_of
from airflow_sop_provider.audit.entries import audit_time, chain_start, hash_of
from airflow_sop_provider.store.audit_keys import SigningKey
from airflow_sop_provider.store.audit_log import chain_entries
from airflow_sop_provider.store.audit_tables import AuditChainRow, AuditDigestRow, AuditLeafRow
from airflow_sop_provider.store.executions import find_execution
from airflow_sop_provider.store.outbox import put

__all__ = ["BROKEN", "DigestFiles", "count_undigested", "digest_files", "make_digest", "proof_of", "unwritten_digests"]

BROKEN = "audit-broken"
"""Kind of the outbox entry about a broken chain."""

_CHAINS = 5000  # of one digest; more wait for the next one


class DigestFiles(NamedTuple):
    """A digest as it lies in the second place: name -> content."""

    number: int
    files: dict[str, bytes]


def make_digest(session: Session, key: SigningKey, now: datetime) -> SignedDigest | None:
    """Sign the heads of the chains that have grown since the last digest; None if none has.

    Two engines that do this at once meet in the digest's number: the transaction of one of them fails.
    """
    chains = session.scalars(
        select(AuditChainRow).where(AuditChainRow.undigested, AuditChainRow.seq > 0).order_by(AuditChainRow.id)
        .limit(_CHAINS)
    ).all()  # fmt: skip
    seen = {chain.name: (chain.id, chain.seq, chain.head or "") for chain in chains if _holds(session, chain)}
    if not seen:
        return None
    leaves = sorted(Leaf(name, seq, head) for name, (_, seq, head) in seen.items())
    last = session.scalars(select(AuditDigestRow).order_by(AuditDigestRow.number.desc()).limit(1)).one_or_none()
    digest = Digest(
        number=1 if last is None else last.number + 1,
        time=audit_time(now),
        previous=FIRST_DIGEST if last is None else last.hash,
        leaves=len(leaves),
        root=root_of(leaves),
        key=key.id,
    )
    signed = key.sign(digest)
    session.execute(
        insert(AuditDigestRow).values(
            number=digest.number, created_at=now, body=digest.body().decode(), hash=digest.hash(),
            signature=signed.signature, key_id=digest.key,
        )
    )  # fmt: skip
    rows = [{"number": digest.number, "chain_id": i, "seq": seq, "head": head} for i, seq, head in seen.values()]
    session.execute(insert(AuditLeafRow), rows)
    for chain_id, seq, _ in seen.values():
        session.execute(
            update(AuditChainRow)
            .where(AuditChainRow.id == chain_id, AuditChainRow.seq == seq)
            .values(undigested=False)
            .execution_options(synchronize_session=False)
        )
    return signed


def unwritten_digests(session: Session) -> Iterator[DigestFiles]:
    """Yield the digests that are not in the second place yet, the oldest first."""
    rows = select(AuditDigestRow).where(AuditDigestRow.written_to.is_(None)).order_by(AuditDigestRow.number)
    for row in session.scalars(rows).all():
        yield digest_files(session, row)


def digest_files(session: Session, row: AuditDigestRow) -> DigestFiles:
    """Return a digest's files as `sop audit verify` reads them."""
    name = f"digest-{row.number:06}"
    lines = b"".join(canonical([leaf.execution, leaf.seq, leaf.head]) + b"\n" for leaf in _leaves(session, row.number))
    return DigestFiles(row.number, {f"{name}.leaves.jsonl": lines, f"{name}.json": _signed(row).to_line().encode()})


def proof_of(session: Session, chain: str) -> tuple[SignedDigest, Leaf, list[str]] | None:
    """Return the newest digest of a chain, the chain's leaf and its path to the root; None if there is none."""
    found = session.execute(
        select(AuditDigestRow, AuditLeafRow.seq, AuditLeafRow.head)
        .join(AuditLeafRow, AuditLeafRow.number == AuditDigestRow.number)
        .join(AuditChainRow, AuditChainRow.id == AuditLeafRow.chain_id)
        .where(AuditChainRow.name == chain)
        .order_by(AuditDigestRow.number.desc())
        .limit(1)
    ).one_or_none()
    if found is None:
        return None
    row, seq, head = found
    leaves, leaf = _leaves(session, row.number), Leaf(chain, seq, head)
    return _signed(row), leaf, path_to_root(leaves, leaves.index(leaf))


def _signed(row: AuditDigestRow) -> SignedDigest:
    return SignedDigest(Digest(**json.loads(row.body)), row.signature)


def _leaves(session: Session, number: int) -> Sequence[Leaf]:
    rows = session.execute(
        select(AuditChainRow.name, AuditLeafRow.seq, AuditLeafRow.head)
        .join(AuditChainRow, AuditChainRow.id == AuditLeafRow.chain_id)
        .where(AuditLeafRow.number == number)
    )
    return sorted(Leaf(*row) for row in rows)  # as the tree has them, whatever the database's collation


def _holds(session: Session, chain: AuditChainRow) -> bool:
    """Check what was appended since the last digest, up to the head that was read; escalate if it does not hold."""
    last = session.execute(
        select(AuditLeafRow.seq, AuditLeafRow.head)
        .where(AuditLeafRow.chain_id == chain.id)
        .order_by(AuditLeafRow.seq.desc())
        .limit(1)
    ).one_or_none()
    seq, previous = (0, chain_start(chain.name)) if last is None else (last.seq, last.head)
    for entry in (entry for entry in chain_entries(session, chain.name, seq) if entry.seq <= chain.seq):
        if (entry.seq, entry.previous, entry.hash) != (seq + 1, previous, hash_of(entry.to_dict())):
            return _broken(session, chain, seq + 1, f"Entry {seq + 1} was changed, removed or put in.")
        seq, previous = entry.seq, entry.hash
    if (seq, previous) != (chain.seq, chain.head):
        return _broken(session, chain, seq + 1, f"The chain ends after entry {seq}, not {chain.seq}.")
    return True


def _broken(session: Session, chain: AuditChainRow, seq: int, message: str) -> bool:
    payload: dict[str, Any] = {"chain": chain.name, "seq": seq, "message": message, "level": "error"}
    sop, _, run_id = chain.name.partition("/")
    execution = find_execution(session, sop, run_id)  # None: a chain of the engine's own
    if execution is not None:
        payload |= {"execution": execution.name, "sop": sop, "run_id": run_id, "control": execution.control}
    number = None if execution is None else execution.id
    put(session, BROKEN, f"{BROKEN}:{chain.id}:{seq}", payload, execution_id=number)
    return False


def count_undigested(session: Session) -> int:
    """Return how many chains have entries that no digest covers."""
    query = select(func.count()).select_from(AuditChainRow).where(AuditChainRow.undigested)
    return session.scalar(query) or 0
