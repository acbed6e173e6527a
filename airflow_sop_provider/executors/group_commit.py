"""Transactions of many attempts made one: whatever waits when a transaction begins is written together.

A single attempt waits for nobody; a thousand that end at once cost few commits, each one write to the disk and, on
SQLite, one turn at its only lock. One that fails is found out by repeating each alone, so it spoils nothing of the
others'. While the database is away everything waits.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar
from uuid import UUID

from airflow import settings
from airflow.models.taskinstance import TaskInstance
from sqlalchemy import select
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from airflow_sop_provider.store.audit_append import ChainBusyError

__all__ = ["GroupCommit", "transaction"]

log = logging.getLogger(__name__)

T = TypeVar("T")
Work = Callable[[Session], Any]

_AT_ONCE = 25
_AWAY_SECONDS = 2.0
_LOCKED_SECONDS = 0.1
_LOCKED = object()


class _Joined(Session):
    """A session whose users cannot end its transaction: Airflow's functions commit, or give up, on their own."""

    def commit(self) -> None:
        self.flush()

    def rollback(self) -> None:
        """Refuse to go on: what comes after would be told apart from what came before."""
        raise sys.exc_info()[1] or RuntimeError("one part of a transaction cannot be rolled back alone")

    def really_commit(self) -> None:
        super().commit()


@contextmanager
def transaction() -> Iterator[Session]:
    """Return a session on Airflow's database whose transaction ends with the block and not before."""
    if settings.NonScopedSession is None:
        raise RuntimeError("airflow.settings.initialize() must be called first")
    session = _Joined(**settings.NonScopedSession.kw)
    try:
        if session.get_bind().dialect.name == "sqlite":
            # What was read is still so when it is written: Python's driver would begin at the first write.
            session.connection().exec_driver_sql("BEGIN IMMEDIATE")
        yield session
        session.really_commit()
    finally:
        session.close()


@dataclass(frozen=True)
class _Waiting:
    work: Work
    row: UUID | None
    done: asyncio.Future[Any]


class GroupCommit:
    """Takes work from the event loop and does it in a thread of its own."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="group-commit")
        self._waiting: list[_Waiting] = []
        self._writing: asyncio.Task[None] | None = None

    def close(self) -> None:
        """Wait for the transaction under way and end the thread."""
        self._thread.shutdown(wait=True)

    async def run(self, work: Callable[[Session], T], *, task_instance: str | None = None) -> T:
        """Return what ``work`` returned once it is committed; it may be called several times.

        :param task_instance: id of the one that it changes. While somebody else has its row locked, others go first:
            a scheduler that died with -9 leaves its locks with its workers, and nobody is to wait with it.
        :raises Exception: what ``work`` raised; then nothing of it is stored.
        """
        done: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Waiting(work, None if task_instance is None else UUID(task_instance), done))
        if self._writing is None or self._writing.done():
            self._writing = asyncio.ensure_future(self._drain())
        return await done

    async def _drain(self) -> None:
        while self._waiting:
            batch, self._waiting = self._waiting[:_AT_ONCE], self._waiting[_AT_ONCE:]
            if await self._write(batch) or len(batch) == 1:
                continue
            for one in batch:
                await self._write([one])

    async def _write(self, batch: list[_Waiting]) -> bool:
        """Return whether everybody in the batch knows, or waits again; one alone knows its error."""
        try:
            results = await asyncio.get_running_loop().run_in_executor(self._thread, _together, batch)
        except (OperationalError, ChainBusyError) as error:
            log.warning("the metadata database did not answer, trying again: %s", error)
            self._waiting = batch + self._waiting
            await asyncio.sleep(_AWAY_SECONDS)
            return True
        except Exception as error:
            if len(batch) == 1:
                _settle(batch[0].done, error=error)
            return False
        locked = [one for one, result in zip(batch, results, strict=True) if result is _LOCKED]
        for one, result in zip(batch, results, strict=True):
            if result is not _LOCKED:
                _settle(one.done, result)
        self._waiting += locked
        if len(locked) == len(batch):
            await asyncio.sleep(_LOCKED_SECONDS)
        return True


def _settle(done: asyncio.Future[Any], result: Any = None, *, error: Exception | None = None) -> None:
    if done.done():  # its attempt was cancelled meanwhile
        return
    if error is None:
        done.set_result(result)
    else:
        done.set_exception(error)


def _together(batch: Sequence[_Waiting]) -> list[Any]:
    results: list[Any] = []
    with transaction() as session:
        locked = _locked(session, {one.row for one in batch if one.row is not None})
        for one in batch:
            if one.row in locked:
                results.append(_LOCKED)
                continue
            results.append(one.work(session))
            # Each as if in a session of its own: nobody meets another's objects, which may be out of date.
            session.flush()
            session.expunge_all()
    return results


def _locked(session: Session, rows: set[UUID]) -> set[UUID]:
    """Lock these task instances; return those that others have locked. SQLite has no such locks."""
    if not rows:
        return set()
    query = select(TaskInstance.id).where(TaskInstance.id.in_(rows))
    missing = rows - set(session.scalars(query.with_for_update(skip_locked=True)))
    if not missing:
        return set()
    return set(session.scalars(select(TaskInstance.id).where(TaskInstance.id.in_(missing))))
