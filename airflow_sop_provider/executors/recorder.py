"""Records the attempts of the executor's child in the engine's tables: begin before the start, end before the report.

Facts that arrive while a transaction is under way share the next one, so that thousands of steps cost few commits and
a single one waits for nobody. While the database is away the attempts wait, as they do for everything else there.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from airflow.utils.session import create_session
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from airflow_sop_provider.contract.attempt import AttemptKey
from airflow_sop_provider.runs.opening import opened
from airflow_sop_provider.store.attempts import AttemptBegin, AttemptEnd, begin_attempt, end_attempt
from airflow_sop_provider.store.audit_append import ChainBusyError

__all__ = ["Recorder", "RecordingError"]

_LOG = logging.getLogger(__name__)
_AWAY_SECONDS = 2.0
_AT_ONCE = 100

Work = Callable[[Session], None]


class RecordingError(RuntimeError):
    """A fact cannot be recorded, and trying again will not help."""


class Recorder:
    """Takes facts from the event loop and writes them in a thread of its own."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="recorder")
        self._waiting: list[tuple[Work, asyncio.Future[None]]] = []
        self._writing: asyncio.Task[None] | None = None

    def close(self) -> None:
        """Wait for the transaction under way and end the thread."""
        self._thread.shutdown(wait=True)

    async def begin(self, begin: AttemptBegin) -> None:
        """Return once it is stored that this attempt begins.

        :raises RecordingError: it cannot be stored; the attempt must not start, as nobody would know of it.
        """
        await self._write(lambda session: _begin(session, begin))

    async def end(self, end: AttemptEnd) -> None:
        """Return once it is stored what this attempt came to.

        What cannot be stored is taken from Airflow when the execution is closed; the result does not wait for it.
        """
        try:
            await self._write(lambda session: _end(session, end))
        except RecordingError:
            _LOG.exception("the end of %s/%s was not recorded", end.key.sop, end.key.step)

    async def _write(self, work: Work) -> None:
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((work, done))
        if self._writing is None or self._writing.done():
            self._writing = asyncio.ensure_future(self._drain())
        await done

    async def _drain(self) -> None:
        loop = asyncio.get_running_loop()
        while self._waiting:
            batch, self._waiting = self._waiting[:_AT_ONCE], self._waiting[_AT_ONCE:]
            try:
                await loop.run_in_executor(self._thread, _in_session, [work for work, _ in batch])
            except (OperationalError, ChainBusyError) as error:
                _LOG.warning("the metadata database did not answer, trying again: %s", error)
                self._waiting = batch + self._waiting
                await asyncio.sleep(_AWAY_SECONDS)
            except Exception as error:
                await self._one_by_one(batch, error)
            else:
                for _, done in batch:
                    _settle(done, None)

    async def _one_by_one(self, batch: list[tuple[Work, asyncio.Future[None]]], error: Exception) -> None:
        """Find out which fact of a batch cannot be stored, and store the others."""
        loop = asyncio.get_running_loop()
        for work, done in batch:
            try:
                await loop.run_in_executor(self._thread, _in_session, [work])
            except (OperationalError, ChainBusyError):
                self._waiting.append((work, done))
            except Exception as own:
                _settle(
                    done, RecordingError(f"the engine's tables did not take it: {own} - has `airflow db migrate` run?")
                )
            else:
                _settle(done, None)
        _LOG.debug("a batch was written one by one", exc_info=error)


def _settle(done: asyncio.Future[None], error: Exception | None) -> None:
    if done.done():  # its attempt was cancelled meanwhile
        return
    if error is None:
        done.set_result(None)
    else:
        done.set_exception(error)


def _in_session(batch: list[Work]) -> None:
    with create_session() as session:
        for work in batch:
            work(session)


def _begin(session: Session, begin: AttemptBegin) -> None:
    execution = opened(session, begin.key.sop, begin.key.run_id)
    if execution is None:
        raise LookupError(_no_run(begin.key))
    begin_attempt(session, execution, begin)


def _end(session: Session, end: AttemptEnd) -> None:
    execution = opened(session, end.key.sop, end.key.run_id)
    if execution is not None:
        end_attempt(session, execution, end)


def _no_run(key: AttemptKey) -> str:
    return f"Airflow has no run {key.run_id} of {key.sop}, or its tasks are no steps of an SOP"
