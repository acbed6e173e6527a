"""Carries one attempt from the queue to its verdict: the heart of the executor.

Every step of the way may be repeated. Its begin is idempotent for the attempt's identity, the runtime
adopts a container that exists under the attempt's name, its end is one transaction, a verdict is
read from where it was stored, and the container is removed last. So after a crash of anything an
attempt is simply carried again from the beginning: it neither runs twice nor is lost.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from typing import Any

from pydantic import ValidationError

from airflow_sop_provider.airflow_settings import SopSettings
from airflow_sop_provider.contract import AttemptKey, ErrorType, StepPayload, container_name
from airflow_sop_provider.contract.engine_access import ENGINE_URL, FLEET_URL
from airflow_sop_provider.engine.assignments import InputsError, build_assignment, item_of
from airflow_sop_provider.engine.attempts import attempt_spec
from airflow_sop_provider.engine.failures import Failure, classify
from airflow_sop_provider.engine.keeping import is_kept
from airflow_sop_provider.engine.retries import RetryPolicy
from airflow_sop_provider.engine.rollback import FAILED_STATES, reason_to_skip, undone_step
from airflow_sop_provider.executors.airflow_states import Superseded
from airflow_sop_provider.executors.attempt_log import AttemptLog, open_attempt_log, upload_attempt_log
from airflow_sop_provider.executors.attempt_report import Reporter, failure_of, permanent
from airflow_sop_provider.executors.ledger import Begun, Ledger
from airflow_sop_provider.executors.log_pump import LINGER_SECONDS, PATIENCE_SECONDS, pump
from airflow_sop_provider.executors.messages import AttemptMessage, FinishedMessage, FinishedState
from airflow_sop_provider.executors.metadata_db import MetadataDb
from airflow_sop_provider.executors.upstream import Upstream
from airflow_sop_provider.operators.pod_attempt import pod_manifest
from airflow_sop_provider.runtimes.base import (
    ENGINE_TOKEN_FILE,
    AttemptSpec,
    Handle,
    Outcome,
    Runtime,
    RuntimeFailedError,
)
from airflow_sop_provider.store.attempts import AttemptBegin, AttemptEnd

__all__ = ["AttemptCarrier", "Services"]

log = logging.getLogger(__name__)

_RUNNING = "running"
_GOOD_ENDS = ("success", "skipped")
_WITH_PEOPLE = ("awaiting_input", "scheduled")
"""States of a task that was parked for an approval before whoever did it could say so."""


@dataclass(frozen=True, kw_only=True)
class Services:
    """What attempts need; one of each in the executor's child."""

    ledger: Ledger
    database: MetadataDb
    runtime: Runtime
    settings: SopSettings
    token: Callable[[AttemptKey, float | None], str]
    """Makes the engine's token for an attempt's runner, given its time limit."""


class AttemptCarrier:
    """One attempt on its way.

    :param message: what the scheduler said of it.
    """

    def __init__(self, message: AttemptMessage, services: Services) -> None:
        self._message = message
        self._services = services
        self._handle: Handle | None = None
        self._outcome: Outcome | None = None
        self._stopped: str | None = None
        self._stop_asked = asyncio.Event()
        self._log: AttemptLog | None = None
        self._pump: asyncio.Future[None] | None = None
        self.running = False
        """Whether Airflow has it as running under our identity.

        Then it needs heartbeats.
        """
        self.reporting = False
        """Whether its result is being told to Airflow: then a change of its state there is our own doing."""

    async def carry(self) -> FinishedMessage:
        """Return once nothing of the attempt is left and Airflow knows what it came to."""
        key = self._message.key
        try:
            payload = _payload_of(self._message)
            begun = await self._begin(payload)
            self.running = True
            await self._carry_started(payload, begun)
        except Superseded as superseded:
            if superseded.state == _RUNNING and not self.running:
                # Two schedulers that took each other for dead have adopted each other's attempts.
                return self._finished("elsewhere", "it runs under another executor's identity")
            if superseded.state in _WITH_PEOPLE:
                return self._finished("reported", "it waits for people, or has just been answered")
            return self._finished("success" if superseded.state in _GOOD_ENDS else "failed", str(superseded))
        except Exception as error:
            # A bug of ours or an answer nobody expected: the step must fail with the reason, not hang.
            log.exception("attempt %s of %s/%s %s", key.attempt, key.sop, key.step, key.run_id)
            await self._fail_unexpectedly(error)
            return self._finished("failed", repr(error))
        finally:
            self.running = False
        return self._finished("reported" if self._stopped is None else "failed", self._stopped)

    async def clean_up(self) -> None:
        """Complete the log, upload it and remove the container; `carry` has returned before.

        The container of an attempt that failed may be kept (``keep_failed_seconds``); then the sweep removes it.
        Only a full disk makes this take long; the result is known by then.
        """
        if self._pump is not None:
            await asyncio.wait({self._pump}, timeout=LINGER_SECONDS)
            if not self._pump.done():
                self._pump.cancel()
                log.warning("gave up on the log %s", self._message.log_path)
            elif (error := self._pump.exception()) is not None:
                log.error("the log %s is not complete", self._message.log_path, exc_info=error)
        kept = self._is_kept()
        if self._log is not None:  # without one nothing was begun here, and another may be writing it
            if kept:
                seconds = self._services.settings.keep_failed_seconds
                self._log.say("info", "The container stays for a person to look at", seconds_from_its_end=seconds)
            await asyncio.to_thread(upload_attempt_log, self._message.log_path)
        if self._handle is not None and not kept:
            try:
                await self._services.runtime.remove(self._handle)
            except RuntimeFailedError:
                log.exception("%s could not be removed; the sweep tries again", self._handle.name)

    @property
    def may_be_stopped(self) -> bool:
        """Whether a change of its state in Airflow means that it is to be stopped."""
        return self.running and not self.reporting

    async def stop(self, reason: str) -> None:
        """End the attempt's container; `carry` then finishes without reporting a result."""
        if self._stopped is not None:
            return
        self._stopped = reason
        self._stop_asked.set()
        if self._handle is not None:
            await self._end_container(self._handle)

    def _is_kept(self) -> bool:
        if self._outcome is None or self._stopped is not None:
            return False
        return is_kept(self._outcome, self._services.settings.keep_failed_seconds, datetime.now(UTC))

    async def _begin(self, payload: StepPayload | Failure) -> Begun:
        """Begin the attempt in Airflow and in the engine's tables: no container is ever unknown to either."""
        key, identity, ledger = self._message.key, self._message.identity, self._services.ledger
        if isinstance(payload, Failure):
            return await ledger.begin(key, identity, None, reads=(), states=False)
        fact = AttemptBegin(
            key=key,
            kind=payload.kind,
            runtime=self._services.runtime.name,
            container=container_name(key),
            data_sources=payload.data_sources,
            memory_bytes=payload.memory_bytes,
            cpu_millis=payload.cpu_millis,
        )
        reads = {*payload.reads, *([payload.items_task] if payload.items_task else [])}
        return await ledger.begin(key, identity, fact, reads=reads, states=payload.kind == "rollback")

    async def _carry_started(self, payload: StepPayload | Failure, begun: Begun) -> None:
        log_file = self._log = await asyncio.to_thread(open_attempt_log, self._message.log_path)
        services = self._services
        reporter = Reporter(self._message.key, services.ledger, services.database, log_file)
        conclude = await self._work(reporter, log_file, payload, begun)
        if self._stopped is None:
            self.reporting = True
            await conclude()
        else:
            text = f"Stopped: {self._stopped}. Nothing of the step runs any more."
            log_file.say("warning", text, container=self._handle.name if self._handle else None)
            await self._record_stop()

    async def _record_stop(self) -> None:
        """Record that the attempt was ended from outside, with what its runner still said."""
        seen = self._outcome
        end = AttemptEnd(
            key=self._message.key,
            state="stopped",
            message=f"Stopped: {self._stopped}",
            usage=None if seen is None else seen.usage,
            events=() if seen is None else seen.recorded,
        )
        await self._services.ledger.record(end)

    async def _work(
        self, reporter: Reporter, log_file: AttemptLog, payload: StepPayload | Failure, begun: Begun
    ) -> Callable[[], Awaitable[None]]:
        """Do what there is to do and return how to report it."""
        context = begun.context
        if isinstance(payload, Failure):
            return partial(reporter.failed, payload, None, context)
        if payload.asks_people and context.get("next_method"):  # people have answered, or their time is over
            settled = await self._services.ledger.settle(self._message.key, payload)
            if settled.state != "void":
                return partial(reporter.settled, settled, payload, context)
            log_file.say("warning", f"{settled.message}: asking anew")
        if payload.approvals:
            missing = await self._services.ledger.missing_approval(self._message.key, payload)
            if missing is not None:
                return partial(reporter.failed, permanent("approval-missing", missing), payload, context)
        spec = await self._spec(payload, begun)
        if isinstance(spec, Failure):
            return partial(reporter.failed, spec, payload, context)
        if payload.kind == "rollback" and (reason := _nothing_to_undo(payload, begun.upstream)):
            return partial(reporter.skipped, reason)
        seen = await self._until_it_ran(spec, log_file)
        if isinstance(seen, RuntimeFailedError):
            return partial(reporter.failed, failure_of(seen), payload, context)
        return partial(reporter.ended, seen, payload, context, spec.memory_bytes)

    async def _until_it_ran(self, spec: AttemptSpec, log_file: AttemptLog) -> Outcome | RuntimeFailedError:
        """Start the container and follow it; one that never started goes back to the queue, and no attempt is used."""
        began = time.monotonic()
        while True:
            seen = await self._run_container(spec, log_file)
            failure = classify(seen)
            if failure is None or failure.type is not ErrorType.REQUEUE or self._stopped is not None:
                return seen
            decision = RetryPolicy().decide(ErrorType.REQUEUE, 1, waited_seconds=time.monotonic() - began)
            if decision.action == "fail":
                return seen
            log_file.say("warning", f"{failure.message}. {decision.reason}", evidence=dict(failure.evidence))
            await self._make_room()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(decision.delay_seconds):
                    await self._stop_asked.wait()

    async def _run_container(self, spec: AttemptSpec, log_file: AttemptLog) -> Outcome | RuntimeFailedError:
        try:
            handle = await self._start(spec, log_file)
        except RuntimeFailedError as error:
            return error
        return await self._follow(handle, log_file)

    async def _make_room(self) -> None:
        """Remove a container that never started, so that its successor may have the name."""
        handle, self._handle, self._outcome = self._handle, None, None
        if self._pump is not None:
            self._pump.cancel()
            self._pump = None
        if handle is not None:
            await self._services.runtime.remove(handle)

    async def _spec(self, payload: StepPayload, begun: Begun) -> AttemptSpec | Failure:
        key, run, (outputs, memory, _) = self._message.key, begun.context["dag_run"], begun.upstream
        try:
            assignment = build_assignment(
                key,
                payload.model_copy(update={"memory_bytes": memory}) if memory else payload,
                run.get("conf") or {},
                outputs,
                item_of(payload, key.map_index, outputs),
                _execution_of(self._message, run),
            )
        except (InputsError, LookupError) as error:
            return permanent("inputs", str(error))
        spec = attempt_spec(assignment, self._services.settings)
        if self._services.runtime.name == "kubernetes":
            return replace(spec, pod=await asyncio.to_thread(pod_manifest, assignment, self._services.settings))
        return self._with_engine(spec)

    def _with_engine(self, spec: AttemptSpec) -> AttemptSpec:
        """Return the attempt with what its runner needs to reach the engine; a pod has a token of its own kind.

        Not where an image of the author's choice runs: that calls no engine.
        """
        settings = self._services.settings
        url = settings.engine_url
        if url is None or spec.image is not None:
            return spec
        token = self._services.token(self._message.key, spec.timeout_seconds)
        files = {**spec.files, ENGINE_TOKEN_FILE: token.encode()}
        fleet = {FLEET_URL: settings.fleet_url} if settings.fleet_url else {}
        return replace(spec, files=files, env={**spec.env, ENGINE_URL: url, **fleet})

    async def _start(self, spec: AttemptSpec, log_file: AttemptLog) -> Handle:
        runtime = self._services.runtime
        handle = self._handle = await runtime.start(spec)
        if log_file.offset == 0:
            verb = "Adopted" if handle.adopted else "Started"
            log_file.say(
                "info", f"{verb} {handle.name} on the {runtime.name} runtime", attempt=self._message.key.attempt
            )
        if self._stopped is not None:  # stop() came while the container was being started
            await self._end_container(handle)
        return handle

    async def _follow(self, handle: Handle, log_file: AttemptLog) -> Outcome:
        self._pump = asyncio.ensure_future(pump(self._services.runtime, handle, log_file))
        outcome = self._outcome = await self._services.runtime.wait(handle)
        done, _ = await asyncio.wait({self._pump}, timeout=PATIENCE_SECONDS)
        if not done:
            log.warning("the log of %s is not complete; the result does not wait for it", handle.name)
        return outcome

    async def _end_container(self, handle: Handle) -> None:
        settings = self._services.settings
        if self._log is not None:
            self._log.say("warning", f"Stopping: {self._stopped}", container=handle.name)
        await self._services.runtime.stop(handle, grace=settings.termination_grace_seconds)

    async def _fail_unexpectedly(self, error: Exception) -> None:
        try:
            if self._log is None:
                self._log = await asyncio.to_thread(open_attempt_log, self._message.log_path)
            self._log.say("error", f"The executor could not carry this attempt: {error!r}")
            await self._services.ledger.refuse(self._message.key, self._message.identity)
        except Exception:
            # Whatever it is, the scheduler is told, which fails a task instance that is left.
            log.exception("could not report it")

    def _finished(self, state: FinishedState, info: str | None) -> FinishedMessage:
        message = self._message
        return FinishedMessage(
            task_instance_id=message.key.task_instance_id, state=state, info=info, number=message.number
        )


def _payload_of(message: AttemptMessage) -> StepPayload | Failure:
    if message.payload is None:
        return permanent(
            "not-a-step",
            f"Task {message.key.step!r} is no SOP step: the `sop` executor runs SopStepOperator tasks only. "
            "Remove executor='sop' from the task, or the executor from [core] executor.",
        )
    try:
        return StepPayload.model_validate(message.payload)
    except ValidationError as error:
        return permanent(
            "payload", f"The step's payload was written by another version of airflow-sop-provider: {error}"
        )


def _nothing_to_undo(payload: StepPayload, upstream: Upstream) -> str | None:
    return reason_to_skip(
        payload,
        undone_succeeded=(undone_step(payload), "success") in upstream.states,
        execution_failed=any(state in FAILED_STATES for _, state in upstream.states),
    )


def _execution_of(message: AttemptMessage, run: dict[str, Any]) -> dict[str, Any]:
    """Return what expressions read as ``execution``."""
    key = message.key
    values = {name: run.get(name) for name in ("logical_date", "run_after", "run_type", "data_interval_start")}
    return {"id": f"{key.sop}/{key.run_id}", "sop": key.sop, "run_id": key.run_id, "attempt": key.attempt, **values}
