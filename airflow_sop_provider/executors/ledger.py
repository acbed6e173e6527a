"""Keeps what is true of attempts: Airflow's state and the engine's facts, each change of both in one transaction.

An attempt is written twice: when it begins, before anything of it runs, and when it is over. What belongs together is
there together, so whoever dies in between repeats all of it or none.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any, NamedTuple

from sqlalchemy.orm import Session

from airflow_sop_provider.contract import AttemptKey, StepPayload
from airflow_sop_provider.contract.approval import Settled
from airflow_sop_provider.executors import airflow_states
from airflow_sop_provider.executors.airflow_states import Report, Superseded, UnexpectedAnswer
from airflow_sop_provider.executors.group_commit import GroupCommit
from airflow_sop_provider.executors.messages import Identity
from airflow_sop_provider.executors.metadata_db import nudge
from airflow_sop_provider.executors.upstream import Upstream, read_upstream
from airflow_sop_provider.runs import approvals
from airflow_sop_provider.runs.approval_guard import missing_approval
from airflow_sop_provider.runs.opening import opened
from airflow_sop_provider.store.attempts import AttemptBegin, AttemptEnd, begin_attempt, end_attempt
from airflow_sop_provider.store.audit_append import gathered

__all__ = ["Begun", "Ledger", "RecordingError"]

log = logging.getLogger(__name__)

_OVER = ("success", "failed", "skipped")


class RecordingError(RuntimeError):
    """The engine's tables cannot take a fact, and trying again will not help."""


class Begun(NamedTuple):
    """An attempt that may start now.

    :param context: what Airflow says of its run: ``dag_run`` and ``max_tries``.
    """

    context: dict[str, Any]
    upstream: Upstream


class Ledger:
    """Writes for all attempts of the executor's child."""

    def __init__(self, commit: GroupCommit) -> None:
        self._commit = commit

    async def begin(
        self, key: AttemptKey, identity: Identity, fact: AttemptBegin | None, *, reads: Collection[str], states: bool
    ) -> Begun:
        """Set the task instance running, record that the attempt begins, and read what it needs.

        :param fact: None for what is no step: Airflow knows of it, the engine does not.
        :param reads: tasks whose outputs it needs.
        :param states: whether it needs the states of the run's tasks.
        :raises Superseded: it is not this attempt's turn (any more).
        :raises UnexpectedAnswer: Airflow refused it.
        :raises RecordingError: the engine's tables do not take it; it must not start, as nobody would know of it.
        """

        def work(session: Session) -> Begun:
            context = airflow_states.start(session, key.task_instance_id, identity)
            upstream = read_upstream(session, key, reads, states=states)
            if fact is not None:  # recorded is the limit that it runs with
                _begin(session, replace(fact, memory_bytes=upstream.memory_bytes or fact.memory_bytes))
            return Begun(context, upstream)

        try:
            return await self._commit.run(work, task_instance=key.task_instance_id)
        except (Superseded, UnexpectedAnswer):
            raise
        except Exception as error:
            raise RecordingError(
                f"the engine's tables did not take it: {error} - has `airflow db migrate` run?"
            ) from error

    async def end(self, key: AttemptKey, report: Report, fact: AttemptEnd | None) -> bool:
        """Tell Airflow and the engine what the attempt came to; return whether the scheduler will look at once.

        :param fact: None while it is not over: it only waits for people.

        What the engine's tables do not take is taken from Airflow when the execution is closed; Airflow has the result.

        :raises Superseded: somebody else ended it in Airflow; the engine has recorded what it came to nonetheless.
        :raises UnexpectedAnswer: Airflow refused it, and nothing is stored.
        """

        def airflows(session: Session) -> bool:
            airflow_states.report(session, key, report)
            if report.state not in _OVER:
                return True  # it has to look later, not now
            return not nudge(session, [(key.sop, key.run_id)])

        def both(session: Session) -> bool:
            nudged = airflows(session)
            if fact is not None:
                _end(session, fact)
            return nudged

        try:
            return await self._commit.run(both, task_instance=key.task_instance_id)
        except Superseded:
            if fact is not None:
                await self.record(fact)
            raise
        except UnexpectedAnswer:
            raise
        except Exception:
            log.exception("the end of %s/%s was not recorded", key.sop, key.step)
            return await self._commit.run(airflows, task_instance=key.task_instance_id)

    async def record(self, fact: AttemptEnd) -> None:
        """Record what an attempt came to that Airflow does not have to be told of."""
        try:
            await self._commit.run(lambda session: _end(session, fact))
        except Exception:
            log.exception("the end of %s/%s was not recorded", fact.key.sop, fact.key.step)

    async def ask(self, key: AttemptKey, payload: StepPayload, question: Mapping[str, Any]) -> Settled:
        """Ask people what an approval's runner has prepared, and return where that stands.

        No attempt stays in the child while people think: its task waits in Airflow's state ``awaiting_input``, which
        takes no slot of a pool and outlives every process, and comes back through the queue when somebody has answered
        or the time is over.
        """
        return await self._commit.run(
            lambda session: approvals.ask_people(session, key, payload, question), task_instance=key.task_instance_id
        )

    async def settle(self, key: AttemptKey, payload: StepPayload) -> Settled:
        """Judge what people have answered since the task was parked, and return where it stands."""
        return await self._commit.run(
            lambda session: approvals.settle(session, key, payload), task_instance=key.task_instance_id
        )

    async def missing_approval(self, key: AttemptKey, payload: StepPayload) -> str | None:
        """Return which approval before a step is missing or outdated, in words; None: the step may start."""
        return await self._commit.run(
            lambda session: missing_approval(session, key, payload), task_instance=key.task_instance_id
        )

    async def refuse(self, key: AttemptKey, identity: Identity) -> None:
        """Have Airflow fail a task instance whose attempt cannot be carried, whether it runs already or not.

        :raises Superseded: it is not this attempt's any more.
        :raises UnexpectedAnswer: Airflow refused it.
        """

        def work(session: Session) -> None:
            airflow_states.start(session, key.task_instance_id, identity)
            airflow_states.report(session, key, Report(state="failed"))

        await self._commit.run(work, task_instance=key.task_instance_id)


def _begin(session: Session, begin: AttemptBegin) -> None:
    key = begin.key
    with gathered(session):
        execution = opened(session, key.sop, key.run_id)
        if execution is None:
            raise LookupError(f"Airflow has no run {key.run_id} of {key.sop}, or its tasks are no steps of an SOP")
        begin_attempt(session, execution, begin)


def _end(session: Session, end: AttemptEnd) -> None:
    with gathered(session):
        execution = opened(session, end.key.sop, end.key.run_id)
        if execution is not None:
            end_attempt(session, execution, end)
