"""Follows every execution, whoever started it and whatever was away at the moment something happened.

Looks at intervals at what Airflow has: runs without an execution are opened, those that Airflow schedules by now are
QUEUED, those that are over are closed. It holds no state that matters, so it may be killed, run twice, or run late.

Whether a run has an execution is asked of new runs alone: a history of years would be walked through every second. The
numbers of runs grow, so those below what was seen some minutes ago are known; all of them are looked at after a start
and now and then, for what was written in a transaction longer than that.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass

from airflow.models.dag import DagTag
from airflow.models.dagrun import DagRun
from airflow.utils.state import DagRunState
from sqlalchemy import Select, and_, exists, func, or_, select
from sqlalchemy.orm import Session

from airflow_sop_provider.engine.execution_state import ExecutionStatus
from airflow_sop_provider.runs.closing import close_run
from airflow_sop_provider.runs.opening import open_run
from airflow_sop_provider.store.audit_append import gathered
from airflow_sop_provider.store.execution_tables import ExecutionRow
from airflow_sop_provider.store.executions import set_status

__all__ = ["Found", "KnownRuns", "reconcile"]

_LOG = logging.getLogger(__name__)
_MODES = ("system_design", "agent_centric")
"""Tags that the DAG of every SOP has one of."""
_AT_ONCE = 200
_SETTLED_SECONDS = 120.0
"""How long whoever creates a run may take to commit it before its number is passed over."""
_EVERYTHING_SECONDS = 600.0
_OPEN = (ExecutionStatus.SUBMITTED.value, ExecutionStatus.QUEUED.value, ExecutionStatus.RUNNING.value)
_OVER = (DagRunState.SUCCESS.value, DagRunState.FAILED.value)

Sessions = Callable[[], AbstractContextManager[Session]]


@dataclass(frozen=True)
class Found:
    """How many executions were opened, moved to QUEUED and closed."""

    opened: int = 0
    queued: int = 0
    closed: int = 0


class KnownRuns:
    """Remembers up to which number every run has its execution.

    :param clock: seconds that only grow.
    :param again: so many of the newest runs are looked at every time: SQLite gives the numbers of deleted ones again.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic, *, again: int = 1000) -> None:
        self._clock = clock
        self._again = again
        self._newest: deque[tuple[float, int]] = deque()
        self._everything_at: float | None = None
        self._below = 0

    def below(self, newest: int) -> int:
        """Return the number up to which runs need no look.

        :param newest: number of the newest run now.
        """
        now = self._clock()
        while self._newest and self._newest[0][0] <= now - _SETTLED_SECONDS:
            self._below = self._newest.popleft()[1]
        if self._everything_at is None or now >= self._everything_at + _EVERYTHING_SECONDS:
            return 0
        return max(0, min(self._below, newest - self._again))

    def all_known(self, newest: int, *, looked_from: int) -> None:
        """Note that all runs from ``looked_from`` up to ``newest`` have their executions now."""
        now = self._clock()
        if looked_from == 0:
            self._everything_at = now
        if not self._newest or newest > self._newest[-1][1]:
            self._newest.append((now, newest))


_KNOWN = KnownRuns()


def reconcile(sessions: Sessions, known: KnownRuns = _KNOWN) -> Found:
    """Look at everything once; one execution that cannot be treated does not keep the others waiting.

    :param sessions: gives a session that is committed at its end; each execution gets one of its own.
    :param known: what this process has seen before.
    """
    with sessions() as session:
        newest = session.scalar(select(func.max(DagRun.id))) or 0
        below = known.below(newest)
        new = list(session.scalars(_new_runs(below)))
        scheduled = list(session.scalars(_scheduled()))
        over = list(session.scalars(_over()))
    if len(new) < _AT_ONCE:  # whatever cannot be opened, such as another's run with a tag of ours, waits for all
        known.all_known(newest, looked_from=below)
    return Found(
        opened=_each(sessions, new, _open_one),
        queued=_each(sessions, scheduled, _queue_one),
        closed=_each(sessions, over, _close_one),
    )


def _each(sessions: Sessions, ids: Iterable[int], work: Callable[[Session, int], bool]) -> int:
    done = 0
    for number in ids:
        try:
            with sessions() as session, gathered(session):
                done += work(session, number)
        except Exception:
            _LOG.exception("execution %s could not be followed; trying again", number)
    return done


def _new_runs(below: int) -> Select[int]:
    tagged = exists().where(DagTag.dag_id == DagRun.dag_id, DagTag.name.in_(_MODES))
    known = exists().where(ExecutionRow.sop == DagRun.dag_id, ExecutionRow.run_id == DagRun.run_id)
    return select(DagRun.id).where(DagRun.id > below, tagged, ~known).order_by(DagRun.id.desc()).limit(_AT_ONCE)


def _scheduled() -> Select[int]:
    return (
        select(ExecutionRow.id)
        .join(DagRun, and_(DagRun.dag_id == ExecutionRow.sop, DagRun.run_id == ExecutionRow.run_id))
        .where(ExecutionRow.status == ExecutionStatus.SUBMITTED.value, DagRun.state == DagRunState.RUNNING.value)
        .limit(_AT_ONCE)
    )


def _over() -> Select[int]:
    return (
        select(ExecutionRow.id)
        .outerjoin(DagRun, and_(DagRun.dag_id == ExecutionRow.sop, DagRun.run_id == ExecutionRow.run_id))
        .where(ExecutionRow.status.in_(_OPEN), or_(DagRun.id.is_(None), DagRun.state.in_(_OVER)))
        .order_by(ExecutionRow.id)
        .limit(_AT_ONCE)
    )


def _open_one(session: Session, number: int) -> bool:
    run = session.get(DagRun, number)
    return run is not None and open_run(session, run) is not None


def _queue_one(session: Session, number: int) -> bool:
    row = session.get(ExecutionRow, number)
    return row is not None and set_status(session, row, ExecutionStatus.QUEUED, "Airflow schedules its steps")


def _close_one(session: Session, number: int) -> bool:
    row = session.get(ExecutionRow, number)
    return row is not None and close_run(session, row)
