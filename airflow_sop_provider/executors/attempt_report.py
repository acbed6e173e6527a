"""Reports what an attempt came to: XCom and state to Airflow, a line to the log, a nudge to the scheduler.

The order makes it safe to be killed anywhere: the XCom first, the state after it, the nudge last. A
state once reported is never reported differently, because the verdict it follows from is stored.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from sqlalchemy.exc import SQLAlchemyError

from airflow_sop_provider.contract import AttemptKey, StepPayload, Verdict
from airflow_sop_provider.engine.failures import Failure, classify, permanent
from airflow_sop_provider.engine.retries import Decision, RetryPolicy
from airflow_sop_provider.executors.attempt_log import AttemptLog
from airflow_sop_provider.executors.execution_api import ExecutionApi, UnexpectedAnswer
from airflow_sop_provider.executors.metadata_db import MEMORY_XCOM_KEY, MetadataDb
from airflow_sop_provider.runtimes.base import Outcome

__all__ = ["Reporter"]

log = logging.getLogger(__name__)

_CRASH_LINES = 200
"""Log lines kept as evidence of a crash (design, section 8)."""


class Reporter:
    """Reports one attempt."""

    def __init__(self, key: AttemptKey, api: ExecutionApi, database: MetadataDb, log_file: AttemptLog) -> None:
        self._key = key
        self._api = api
        self._database = database
        self._log = log_file

    async def ended(
        self, outcome: Outcome, payload: StepPayload, context: dict[str, Any], memory_bytes: int | None
    ) -> None:
        """Report an attempt that ran, whatever it came to.

        :param context: what `/run` answered.
        :param memory_bytes: the memory limit it ran with.
        """
        failure = classify(outcome)
        verdict = outcome.verdict
        if failure is not None:
            await self.failed(failure, payload, context, memory_bytes)
        elif verdict is not None and verdict.status == "skipped":
            self._log.say("info", f"Skipped: {verdict.reason or 'its condition is false'}")
            await self._api.skip(self._key.task_instance_id)
            await self._nudge()
        else:
            await self._succeeded(verdict, payload, context)

    async def _succeeded(self, verdict: Verdict | None, payload: StepPayload, context: dict[str, Any]) -> None:
        outputs = verdict.outputs if verdict is not None else None
        length = len(outputs) if payload.kind == "items" and isinstance(outputs, list) else None
        try:
            if outputs is not None:
                await self._set_xcom("return_value", outputs, mapped_length=length)
        except UnexpectedAnswer as refused:
            await self.failed(permanent("outputs-refused", f"Airflow did not take the outputs: {refused}"), payload, context)
            return
        usage = verdict.usage.model_dump(exclude_none=True) if verdict is not None else {}
        self._log.say("info", "Succeeded", usage=usage)
        await self._api.succeed(self._key.task_instance_id)
        await self._nudge()

    async def failed(
        self,
        failure: Failure,
        payload: StepPayload | None,
        context: dict[str, Any],
        memory_bytes: int | None = None,
    ) -> None:
        """Report a failure: the next try with its exact delay and reason, or the end."""
        max_retries = payload.max_retries if payload is not None else 0
        retry = _number_of_retry(self._key.attempt, context["max_tries"], max_retries)
        policy = RetryPolicy(max_retries=max_retries)
        decision = policy.decide(failure, retry, memory_bytes, payload.max_memory_bytes if payload else None)
        self._log.say("error", f"{failure.type.value}: {failure.message}", code=failure.code, **_evidence(failure))
        if failure.crashed:
            self._log.say("error", "Last lines before the crash", lines=self._log.tail(_CRASH_LINES))
        if decision.retries:
            await self._retry(decision)
        else:
            self._log.say("error", f"Failed for good: {decision.reason}")
            await self._api.fail(self._key.task_instance_id)
            await self._nudge()
