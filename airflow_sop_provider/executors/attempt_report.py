"""Reports what an attempt came to: XCom and state to Airflow, a line to the log, a nudge to the scheduler.

All of it is one transaction with what the engine records, so it is safe to be killed anywhere. A
state once reported is never reported differently, because the verdict it follows from is stored.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import math
from typing import Any

from sqlalchemy.exc import SQLAlchemyError

from airflow_sop_provider.audit.canonical import canonical, jsonable
from airflow_sop_provider.contract import AttemptKey, ErrorType, StepPayload
from airflow_sop_provider.contract.approval import Settled
from airflow_sop_provider.engine.failures import Failure, classify
from airflow_sop_provider.engine.retries import Decision, RetryPolicy
from airflow_sop_provider.executors.airflow_states import Output, OutputsRefused, Report
from airflow_sop_provider.executors.attempt_log import AttemptLog
from airflow_sop_provider.executors.ledger import Ledger
from airflow_sop_provider.executors.metadata_db import MetadataDb
from airflow_sop_provider.executors.upstream import MEMORY_XCOM_KEY
from airflow_sop_provider.runtimes.base import Outcome, RuntimeFailedError
from airflow_sop_provider.store.attempts import AttemptEnd, AttemptState

__all__ = ["Reporter", "failure_of", "permanent"]

log = logging.getLogger(__name__)

_NUDGE_PAUSE_SECONDS = 0.1
_LONGEST_NUDGE_PAUSE_SECONDS = 30.0  # a minute in all; then the scheduler finds out by itself

_CRASH_LINES = 200
"""Log lines kept as evidence of a crash (design, section 8)."""


class Reporter:
    """Reports one attempt."""

    def __init__(self, key: AttemptKey, ledger: Ledger, database: MetadataDb, log_file: AttemptLog) -> None:
        self._key = key
        self._ledger = ledger
        self._database = database
        self._log = log_file
        self._outcome: Outcome | None = None

    async def ended(
        self, outcome: Outcome, payload: StepPayload, context: dict[str, Any], memory_bytes: int | None
    ) -> None:
        """Report an attempt that ran, whatever it came to.

        :param context: what `/run` answered.
        :param memory_bytes: the memory limit it ran with.
        """
        failure = classify(outcome)
        verdict = outcome.verdict
        self._outcome = outcome
        if failure is not None:
            await self.failed(failure, payload, context, memory_bytes)
        elif verdict is not None and verdict.status == "skipped":
            await self.skipped(verdict.reason or "its condition is false")
        elif payload.asks_people:
            question = dict(verdict.outputs) if verdict is not None and isinstance(verdict.outputs, dict) else {}
            await self.settled(await self._ledger.ask(self._key, payload, question), payload, context)
        else:
            await self._succeeded(outcome, payload, context)

    async def settled(self, settled: Settled, payload: StepPayload, context: dict[str, Any]) -> None:
        """Report where an approval stands: wait for people, or what they have decided."""
        self._log.say("info" if not settled.failed else "error", settled.message, approval=settled.state)
        if settled.failed:
            await self.failed(permanent(f"approval-{settled.state}", settled.message), payload, context)
        elif settled.outputs is not None:
            told = Report(state="success", outputs=(Output(key="return_value", value=settled.outputs),))
            await self._tell(told, "succeeded", outputs_digest=_digest(settled.outputs))
        else:
            waiting = Report(state="awaiting_input", wait_seconds=settled.wait_seconds)
            await self._ledger.end(self._key, waiting, None)

    async def _succeeded(self, outcome: Outcome, payload: StepPayload, context: dict[str, Any]) -> None:
        outputs = outcome.verdict.outputs if outcome.verdict is not None else None
        length = len(outputs) if payload.kind == "items" and isinstance(outputs, list) else None
        usage = outcome.usage.model_dump(exclude_none=True) if outcome.usage is not None else {}
        self._log.say("info", "Succeeded", usage=usage)
        told = () if outputs is None else (Output(key="return_value", value=outputs, mapped_length=length),)
        try:
            await self._tell(Report(state="success", outputs=told), "succeeded", outputs_digest=_digest(outputs))
        except OutputsRefused as refused:
            failure = permanent("outputs-refused", f"Airflow did not take the outputs: {refused}")
            await self.failed(failure, payload, context)

    async def failed(
        self,
        failure: Failure,
        payload: StepPayload | None,
        context: dict[str, Any],
        memory_bytes: int | None = None,
    ) -> None:
        """Report a failure: the next try with its exact delay and reason, or the end."""
        self._log.say("error", f"{failure.type}: {failure.message}", code=failure.code, **_evidence(failure))
        if failure.type is ErrorType.CRASH:
            self._log.say("error", "Last lines before the crash", lines=self._log.tail(_CRASH_LINES))
        decision = self._decide(failure, payload, context["max_tries"], memory_bytes)
        if decision.action == "fail":
            self._log.say("error", f"Failed for good. {decision.reason}")
            await self._tell_failure(Report(state="failed"), "failed", failure, decision)
        else:
            await self._retry(decision, failure)

    async def _tell_failure(self, report: Report, state: AttemptState, failure: Failure, decision: Decision) -> None:
        evidence = dict(failure.evidence)
        if failure.type is ErrorType.CRASH:
            evidence["last_lines"] = self._log.tail(_CRASH_LINES)
        await self._tell(
            report,
            state,
            error_type=failure.type.value,
            error_code=failure.code,
            message=failure.message,
            evidence=jsonable(evidence),
            retry_delay_seconds=decision.delay_seconds if state == "retrying" else None,
            retry_reason=decision.reason,
        )

    async def _tell(self, report: Report, state: AttemptState, **values: Any) -> None:
        """Tell Airflow and the engine; where a scheduler looks at the run just now, nudge it again later."""
        seen = self._outcome
        events = () if seen is None else seen.recorded
        usage = None if seen is None else seen.usage
        image = None if seen is None else seen.image
        fact = AttemptEnd(key=self._key, state=state, usage=usage, image=image, events=events, **values)
        if not await self._ledger.end(self._key, report, fact):
            asyncio.get_running_loop().call_later(_NUDGE_PAUSE_SECONDS, self._nudge_later, 2 * _NUDGE_PAUSE_SECONDS)

    def _decide(
        self, failure: Failure, payload: StepPayload | None, max_tries: int, memory_bytes: int | None
    ) -> Decision:
        max_retries = payload.max_retries if payload is not None else 0
        return RetryPolicy().decide(
            failure.type,
            _number_of_try(self._key.attempt, max_tries, max_retries),
            max_retries,
            waited_seconds=math.inf,  # an attempt that never started is told of when its time is over, not before
            memory_bytes=memory_bytes if failure.scarce == "memory" else None,
            max_memory_bytes=payload.max_memory_bytes if payload is not None else None,
        )

    async def skipped(self, reason: str) -> None:
        """Report a step that is not to run."""
        self._log.say("info", f"Skipped: {reason}")
        await self._tell(Report(state="skipped"), "skipped", message=reason)

    async def _retry(self, decision: Decision, failure: Failure) -> None:
        memory = decision.memory_bytes
        report = Report(
            state="up_for_retry",
            outputs=() if memory is None else (Output(key=MEMORY_XCOM_KEY, value=memory),),
            retry_delay_seconds=decision.delay_seconds,
            retry_reason=f"{decision.reason} ({failure.code}: {failure.message})",
        )
        self._log.say("warning", f"Next try in {decision.delay_seconds:g} s: {decision.reason}")
        await self._tell_failure(report, "retrying", failure, decision)
        # The scheduler queues the next try when it examines the run after the delay, so it is nudged then.
        asyncio.get_running_loop().call_later(decision.delay_seconds, self._nudge_later)

    def _nudge_later(self, pause: float = _NUDGE_PAUSE_SECONDS) -> None:
        task = asyncio.ensure_future(self._nudge(pause))
        _background.add(task)
        task.add_done_callback(_background.discard)

    async def _nudge(self, pause: float = _NUDGE_PAUSE_SECONDS) -> None:
        """Have the scheduler look at the execution; if one does just now, again after ``pause`` seconds."""
        try:
            locked = await self._database.nudge([(self._key.sop, self._key.run_id)])
        except SQLAlchemyError as error:
            # Without it the scheduler finds out by itself, only later.
            log.warning("could not nudge the scheduler: %s", error)
            return
        if locked and pause <= _LONGEST_NUDGE_PAUSE_SECONDS:
            asyncio.get_running_loop().call_later(pause, self._nudge_later, 2 * pause)


_background: set[asyncio.Task[None]] = set()


def failure_of(error: RuntimeFailedError) -> Failure:
    """Return why an attempt that a runtime could not start failed."""
    return Failure(type=error.error_type, code=error.code, message=str(error), evidence=error.evidence)


def permanent(code: str, message: str) -> Failure:
    """Return a failure that trying again cannot mend."""
    return Failure(type=ErrorType.PERMANENT, code=code, message=message)


def _number_of_try(attempt: int, max_tries: int, max_retries: int) -> int:
    """Return the number of the try since the task was last cleared, from 1.

    Clearing a task keeps counting its tries and moves Airflow's ``max_tries`` along, so the retries
    that are left are the distance to ``max_tries``.
    """
    return max(1, attempt - (max_tries - max_retries))


def _digest(outputs: Any) -> str | None:
    return None if outputs is None else hashlib.sha256(canonical(jsonable(outputs))).hexdigest()


def _evidence(failure: Failure) -> dict[str, Any]:
    return {"evidence": dict(failure.evidence)} if failure.evidence else {}
