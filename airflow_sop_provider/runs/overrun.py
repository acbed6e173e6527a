"""Looks for executions that take too long, each in a transaction of its own.

Thousands run at once and tens of thousands ended in the last days: to look at each of them every few seconds would be
most of what an API server does. Until when an execution needs no look follows from when it began and from what is
expected of its like, so that is remembered; who forgets it looks once more, and `flag` alone decides.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import datetime, timedelta

from cachetools import LRUCache
from sqlalchemy.orm import Session

from airflow_sop_provider.airflow_settings import overrun_rule
from airflow_sop_provider.engine.alert_rules import OverrunRule
from airflow_sop_provider.store.alerts import expected_of, flag, overrunning
from airflow_sop_provider.store.base import utc_now
from airflow_sop_provider.store.execution_tables import ExecutionRow

__all__ = ["find_overruns"]

_LOG = logging.getLogger(__name__)

_OVER_FOR = timedelta(hours=1)
"""An execution that is over may be opened again, when its tasks are cleared: so not for ever."""

_not_before: LRUCache[tuple[int, OverrunRule], datetime] = LRUCache(maxsize=100_000)

Sessions = Callable[[], AbstractContextManager[Session]]


def find_overruns(sessions: Sessions) -> int:
    """Raise the alerts that are due; return how many.

    :param sessions: makes sessions that are committed at their end.
    :raises SettingsError: the site's rule cannot be read.
    """
    rule = overrun_rule()
    raised, after, now = 0, 0, utc_now()
    while True:
        with sessions() as session:
            numbers = overrunning(session, now, after=after, rule=rule)
        if not numbers:
            return raised
        for number in numbers:
            if _not_before.get((number, rule), now) <= now:
                raised += _one(sessions, number, rule)
        after = numbers[-1]


def _one(sessions: Sessions, number: int, rule: OverrunRule) -> bool:
    try:
        with sessions() as session:
            row = session.get(ExecutionRow, number)
            if row is None:
                return False
            raised = flag(session, row, utc_now(), rule)
            until = _needs_no_look_until(session, row, rule)
    except Exception:
        _LOG.exception("whether execution %s takes too long could not be told; trying again", number)
        return False
    _not_before[number, rule] = until
    return raised


def _needs_no_look_until(session: Session, row: ExecutionRow, rule: OverrunRule) -> datetime:
    """Return the moment from which an execution may have taken too long, if that can be told now.

    One that is over will not take longer. Where nothing is expected yet, history may tell more in some minutes; not
    of all in the same moment.
    """
    if row.ended_at is not None:
        return utc_now() + _OVER_FOR
    expected = expected_of(session, row, rule)
    if expected is None or row.started_at is None:
        return utc_now() + timedelta(minutes=5 + row.id % 300 / 60)
    return row.started_at + timedelta(seconds=rule.factor * expected)
