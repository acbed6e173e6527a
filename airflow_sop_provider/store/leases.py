"""Who does one of the engine's own jobs: of several API servers one, and another when that one is gone."""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import or_, select, update
from sqlalchemy.orm import Session

from airflow_sop_provider.store.base import insert_if_absent, utc_now
from airflow_sop_provider.store.control_tables import LeaseRow

__all__ = ["hold"]


def hold(session: Session, name: str, holder: str, seconds: float) -> bool:
    """Take or renew a lease; return whether ``holder`` has it.

    :param seconds: how long it lasts; a holder that is gone is followed by another after that. One that lasts twice
        as long was taken before the clock was set back, and binds nobody: it might last for hours.
    """
    now, lasts = utc_now(), timedelta(seconds=seconds)
    remaining = LeaseRow.expires_at.between(now + lasts / 2, now + 2 * lasts)
    if session.scalar(select(LeaseRow.name).where(LeaseRow.name == name, LeaseRow.holder == holder, remaining)):
        return True  # a look each second must not be a write each second
    values = {"holder": holder, "expires_at": now + lasts}
    free = or_(LeaseRow.holder == holder, LeaseRow.expires_at < now, LeaseRow.expires_at > now + 2 * lasts)
    taken = session.execute(
        update(LeaseRow)
        .where(LeaseRow.name == name, free)
        .values(**values)
        .execution_options(synchronize_session=False)
    )
    if taken.rowcount == 1:  # type: ignore[attr-defined]  # of a cursor's result, which an UPDATE has
        return True
    return insert_if_absent(session, LeaseRow, {"name": name, **values})
