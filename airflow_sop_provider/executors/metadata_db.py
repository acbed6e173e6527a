"""The few statements an executor runs against Airflow's metadata database at intervals.

Executors belong to the scheduler and may use its database. Where the API would need one call per
attempt, one statement here serves all of them: heartbeats, "is it still mine?", and the nudge that
makes the scheduler look at a run whose step just ended (without it a finished step waits for its
turn, 20 runs a loop). All statements run in one thread, so the event loop never waits for the
database. An attempt's begin and end have a thread and transactions of their own (`ledger.py`).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import Any, TypeVar
from uuid import UUID

from airflow.models.dagrun import DagRun
from airflow.models.taskinstance import TaskInstance
from airflow.sdk import timezone
from airflow.utils.session import create_session
from airflow.utils.state import DagRunState, TaskInstanceState
from sqlalchemy import select, tuple_, update
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

__all__ = ["MetadataDb", "nudge"]

log = logging.getLogger(__name__)

T = TypeVar("T")

_CHUNK = 500
_BUSY_RETRIES = 5


class MetadataDb:
    """Airflow's metadata database, as the executor's child uses it."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="metadata-db")

    def close(self) -> None:
        """Wait for the statement under way and end the thread."""
        self._thread.shutdown(wait=True)

    async def _run(self, work: Callable[[Session], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, _in_session, work)

    async def heartbeat(self, task_instance_ids: Collection[str]) -> None:
        """Tell Airflow that these task instances are alive, so that it does not fail them."""

        def work(session: Session) -> None:
            for chunk in _chunks(task_instance_ids):
                alive = (TaskInstance.id.in_(chunk), TaskInstance.state == TaskInstanceState.RUNNING)
                session.execute(
                    update(TaskInstance)
                    .where(TaskInstance.id.in_(_unlocked(session, TaskInstance.id, *alive)))
                    .values(last_heartbeat_at=timezone.utcnow())
                    .execution_options(synchronize_session=False)
                )

        await self._run(work)

    async def states(self, task_instance_ids: Collection[str]) -> dict[str, str | None]:
        """Return the state of each task instance that still exists under its id (clearing gives a new id)."""

        def work(session: Session) -> dict[str, str | None]:
            found: dict[str, str | None] = {}
            for chunk in _chunks(task_instance_ids):
                query = select(TaskInstance.id, TaskInstance.state).where(TaskInstance.id.in_(chunk))
                found.update((str(key), state) for key, state in session.execute(query))
            return found

        return await self._run(work)

    async def nudge(self, runs: Iterable[tuple[str, str]]) -> set[tuple[str, str]]:
        """Have the scheduler examine these runs, (dag id, run id), in its next loop; return those that are locked.

        A scheduler is examining them just now, and may have seen them as they were before: try again.
        """
        return await self._run(lambda session: nudge(session, runs))


def nudge(session: Session, runs: Iterable[tuple[str, str]]) -> set[tuple[str, str]]:
    """Do `MetadataDb.nudge` as a part of a transaction: one statement, as it is a part of every step's end."""
    keys = set(runs)
    wanted = (tuple_(DagRun.dag_id, DagRun.run_id).in_(sorted(keys)), DagRun.state == DagRunState.RUNNING)
    free = select(DagRun.id).where(*wanted).with_for_update(skip_locked=True, key_share=True)
    nudged = session.execute(
        update(DagRun)
        .where(DagRun.id.in_(free))
        .values(last_scheduling_decision=None)
        .returning(DagRun.dag_id, DagRun.run_id)
        .execution_options(synchronize_session=False)
    )
    if not (left := keys - {(dag_id, run_id) for dag_id, run_id in nudged}):
        return set()
    running = session.execute(select(DagRun.dag_id, DagRun.run_id).where(*wanted))
    return left & {(dag_id, run_id) for dag_id, run_id in running}  # what is over needs no scheduler


def _unlocked(session: Session, column: Any, *conditions: Any) -> list[Any]:
    """Return the ids of rows that nobody has locked, and lock them.

    We never wait for a lock: a scheduler that died with -9 leaves its transaction open for as long as one of its
    workers lives, which inherited the connection, and every attempt would wait with us. SQLite has no such locks.
    """
    return list(session.scalars(select(column).where(*conditions).with_for_update(skip_locked=True, key_share=True)))


def _in_session(work: Callable[[Session], T]) -> T:
    for attempt in range(_BUSY_RETRIES):
        try:
            with create_session() as session:
                return work(session)
        except OperationalError:
            # SQLite answers "database is locked" under contention, PostgreSQL drops connections when
            # it restarts; both mend themselves, and every statement here may be repeated.
            if attempt == _BUSY_RETRIES - 1:
                raise
    raise AssertionError("unreachable")


def _chunks(task_instance_ids: Collection[str]) -> Iterator[list[UUID]]:
    ids = iter(task_instance_ids)
    while chunk := [UUID(text) for text in islice(ids, _CHUNK)]:
        yield chunk
