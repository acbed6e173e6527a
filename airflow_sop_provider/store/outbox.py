"""The outbox: what somebody has to be told is stored with the fact it is about, and delivered from here afterwards."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy.orm import Session

from airflow_sop_provider.store.alert_tables import OutboxRow
from airflow_sop_provider.store.base import insert_if_absent

__all__ = ["put"]


def put(
    session: Session, kind: str, dedupe_key: str, payload: Mapping[str, Any], *, execution_id: int | None = None
) -> bool:
    """Store a fact that has to be told; return False if it is there already.

    :param kind: what it is, such as ``failure`` or ``alert``.
    :param dedupe_key: the same key again is the same fact.
    :param payload: JSON values that a message is made of.
    """
    values = {"kind": kind, "dedupe_key": dedupe_key, "payload": dict(payload), "execution_id": execution_id}
    return insert_if_absent(session, OutboxRow, values)
