"""The engine's own work in the API server: each job at its interval, in one of all API servers.

A job is a function that looks at everything there is and may be cut off anywhere: nothing is remembered between two
turns, so a restart or a second worker changes nothing but when it happens.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from uuid import uuid4

from airflow.utils.session import create_session
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from airflow_sop_provider.api.audit_job import keep_audit_log
from airflow_sop_provider.api.escalating import dispatch
from airflow_sop_provider.api.stats import send_stats
from airflow_sop_provider.runs.overrun import find_overruns
from airflow_sop_provider.runs.reconcile import reconcile
from airflow_sop_provider.store.leases import hold

__all__ = ["JOBS", "Background", "Job"]

_LOG = logging.getLogger(__name__)
_LEASE_SECONDS = 30.0
_PROBLEM_SECONDS = 30.0

Sessions = Callable[[], AbstractContextManager[Session]]


@dataclass(frozen=True, kw_only=True)
class Job:
    """One job.

    :param work: is given what makes sessions; runs in a thread.
    :param seconds: from the end of one turn to the beginning of the next.
    """

    name: str
    work: Callable[[Sessions], object]
    seconds: float


JOBS: tuple[Job, ...] = (
    Job(name="reconcile", work=reconcile, seconds=1.0),
    Job(name="audit", work=keep_audit_log, seconds=60.0),
    Job(name="escalations", work=dispatch, seconds=2.0),
    Job(name="overrun", work=find_overruns, seconds=10.0),
    Job(name="stats", work=send_stats, seconds=10.0),
)

_SESSIONS: Sessions = partial(create_session, scoped=False)


class Background:
    """Runs jobs until it is stopped.

    :param sessions: makes sessions that are committed at their end.
    """

    def __init__(self, jobs: Sequence[Job] = JOBS, sessions: Sessions = _SESSIONS) -> None:
        self._jobs = jobs
        self._sessions = sessions
        self._holder = f"{socket.gethostname()}:{os.getpid()}:{uuid4().hex[:8]}"
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Begin; needs a running event loop."""
        self._tasks = [asyncio.create_task(self._repeat(job), name=f"sop-{job.name}") for job in self._jobs]

    async def stop(self) -> None:
        """End; a turn under way is finished first, by the thread it runs in."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _repeat(self, job: Job) -> None:
        told = 0.0
        while True:
            try:
                await asyncio.to_thread(self._turn, job)
                told = 0.0
            except SQLAlchemyError as error:
                # away for a while, or not migrated yet; one line now and then says so
                if time.monotonic() - told > _PROBLEM_SECONDS:
                    told = time.monotonic()
                    _LOG.warning("%s cannot use the engine's tables, trying again: %s", job.name, error)
            except Exception:
                _LOG.exception("%s failed, trying again", job.name)
            await asyncio.sleep(job.seconds)

    def _turn(self, job: Job) -> None:
        with self._sessions() as session:
            mine = hold(session, job.name, self._holder, max(_LEASE_SECONDS, 3 * job.seconds))
        if mine:
            job.work(self._sessions)
