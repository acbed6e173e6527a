"""The audit log's upkeep: signs chains that grew, writes digests to their second place, prunes what is old.

Each part is a transaction of its own and may be cut off anywhere: a digest that was signed and not written yet is
written in the next turn, under the same name and with the same bytes.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import UTC, datetime

from airflow.sdk import ObjectStoragePath
from sqlalchemy import update
from sqlalchemy.orm import Session

from airflow_sop_provider.airflow_settings import SopSettings, read_settings
from airflow_sop_provider.store.audit_digests import DigestFiles, make_digest, unwritten_digests
from airflow_sop_provider.store.audit_keys import SigningKey
from airflow_sop_provider.store.audit_retention import prune
from airflow_sop_provider.store.audit_tables import AuditDigestRow

__all__ = ["keep_audit_log", "signing_key"]

_LOG = logging.getLogger(__name__)

Sessions = Callable[[], AbstractContextManager[Session]]


def signing_key(settings: SopSettings) -> SigningKey:
    """Return the key that signs digests.

    :raises KeyFileError: it cannot be used.
    """
    if settings.audit_signing_key is not None:
        return SigningKey.from_secret(settings.audit_signing_key)
    settings.audit_key_file.parent.mkdir(parents=True, exist_ok=True)
    return SigningKey.load_or_create(settings.audit_key_file)


def keep_audit_log(sessions: Sessions) -> None:
    """Do one turn.

    :param sessions: makes sessions that are committed at their end.
    """
    settings = read_settings()
    key = signing_key(settings)
    with sessions() as session:
        signed = make_digest(session, key, datetime.now(UTC))
    if signed is not None:
        _LOG.info("audit digest %s covers %s chains", signed.digest.number, signed.digest.leaves)
    _write(sessions, settings.audit_digest_folder, key)
    with sessions() as session:
        if pruned := prune(session, datetime.now(UTC), settings.audit_retention_days):
            _LOG.info("retention pruned %s audit chains", pruned)


def _write(sessions: Sessions, folder: str, key: SigningKey) -> None:
    """Write what is not in the second place yet; the digest's own file comes last, so that none lacks its leaves."""
    with sessions() as session:
        waiting = list(unwritten_digests(session))
    if not waiting:
        return
    place = ObjectStoragePath(folder)
    place.mkdir(parents=True, exist_ok=True)
    (place / "public_key.hex").write_bytes(f"{key.public.hex()}\n".encode())
    for one in waiting:
        _write_one(sessions, place, one)


def _write_one(sessions: Sessions, place: ObjectStoragePath, one: DigestFiles) -> None:
    for name, content in one.files.items():
        (place / name).write_bytes(content)
    with sessions() as session:
        session.execute(update(AuditDigestRow).where(AuditDigestRow.number == one.number).values(written_to=str(place)))
