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
from airflow_sop_provider.store.alerts import Limit, flag, limits_of, overrunning
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
            due = [number for number in numbers if _not_before.get((number, rule), now) <= now]
            limits = limits_of(session, due, rule) if due else {}
        if not numbers:
            return raised
        for number in due:
            limit = limits.get(number)
            if limit is not None and not _is_late(limit, now):
                _not_before[number, rule] = _next_look(number, limit, now)
            else:
                raised += _one(sessions, number, rule)
        after = numbers[-1]


def _is_late(limit: Limit, now: datetime) -> bool:
    return limit.too_long_from is not None and (limit.ended_at or now) > limit.too_long_from


def _next_look(number: int, limit: Limit, now: datetime) -> datetime:
    """Return the moment from which an execution may have taken too long, if that can be told now.

    One that is over will not take longer. Where nothing is expected yet, history may tell more in some minutes; not
    of all in the same moment.
    """
    if limit.ended_at is not None:
        return now + _OVER_FOR
    if limit.too_long_from is None:
        return now + timedelta(minutes=5 + number % 300 / 60)
    return limit.too_long_from


def _one(sessions: Sessions, number: int, rule: OverrunRule) -> bool:
    try:
        with sessions() as session:
            row = session.get(ExecutionRow, number)
            return row is not None and flag(session, row, utc_now(), rule)
    except Exception:
        _LOG.exception("whether execution %s takes too long could not be told; trying again", number)
        return False
