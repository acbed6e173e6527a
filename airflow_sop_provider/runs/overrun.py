"""Looks for executions that take too long; each is a transaction of its own, and none is remembered."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import AbstractContextManager

from sqlalchemy.orm import Session

from airflow_sop_provider.airflow_settings import overrun_rule
from airflow_sop_provider.engine.alert_rules import OverrunRule
from airflow_sop_provider.store.alerts import flag, overrunning
from airflow_sop_provider.store.base import utc_now
from airflow_sop_provider.store.execution_tables import ExecutionRow

__all__ = ["find_overruns"]

_LOG = logging.getLogger(__name__)

Sessions = Callable[[], AbstractContextManager[Session]]


def find_overruns(sessions: Sessions) -> int:
    """Raise the alerts that are due; return how many.

    :param sessions: makes sessions that are committed at their end.
    :raises SettingsError: the site's rule cannot be read.
    """
    rule = overrun_rule()
    raised, after = 0, 0
    while True:
        with sessions() as session:
            numbers = overrunning(session, utc_now(), after=after, rule=rule)
        if not numbers:
            return raised
        for number in numbers:
            raised += _one(sessions, number, rule)
        after = numbers[-1]


def _one(sessions: Sessions, number: int, rule: OverrunRule) -> bool:
    try:
        with sessions() as session:
            row = session.get(ExecutionRow, number)
            return row is not None and flag(session, row, utc_now(), rule)
    except Exception:
        _LOG.exception("whether execution %s takes too long could not be told; trying again", number)
        return False
