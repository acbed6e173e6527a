"""Attempts of one task in this process: the runner's code, judged and retried by the engine's rules."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from airflow_sop_provider.contract.attempt import AttemptKey
from airflow_sop_provider.contract.payload import StepPayload
from airflow_sop_provider.contract.verdict import Usage
from airflow_sop_provider.engine.assignments import InputsError, build_assignment, execution_values
from airflow_sop_provider.engine.failures import Evidence, classify
from airflow_sop_provider.engine.retries import RetryPolicy
from airflow_sop_provider.runner.attempt import Attempt
from airflow_sop_provider.runner.environment import RunnerEnvironment
from airflow_sop_provider.runner.lines import EventLog, Log, Redactor
from airflow_sop_provider.runner.reporting import Reporter
from airflow_sop_provider.runner.step_context import StepContext, ToolCaller

__all__ = ["Execution", "TaskEnd", "run_task"]

_STOP_GRACE_SECONDS = 1.5
_NOWHERE = RunnerEnvironment(assignment=Path(os.devnull), verdict=None, termination_log=None, events=None, fleet=None)


@dataclass
class Execution:
    """One execution while it runs.

    :param conf: inputs and reserved keys.
    :param run: values of the run, readable as ``execution``.
    :param call: what calls tools; None: each step opens its own connections, as in a container.
    :param fleet: ``fleet.yaml`` for those.
    :param sleep: waits between attempts, seconds.
    :param log: takes the steps' logs.
    :param xcoms: outputs by task id; of a ``for_each`` a list in map order.
    """

    sop: str
    run_id: str
    conf: Mapping[str, Any]
    run: Mapping[str, Any]
    call: ToolCaller | None
    sleep: Callable[[float], None]
    log: Log
    redactor: Redactor
    fleet: Path | None = None
    xcoms: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class TaskEnd:
    """What a task came to, in Airflow's words: ``success``, ``skipped``, ``failed``.

    :param events: what its last attempt recorded.
    :param usage: of its last attempt; what agents spent holds earlier attempts, too.
    """

    state: str
    outputs: Any = None
    message: str = ""
    events: tuple[Mapping[str, Any], ...] = ()
    usage: Usage = field(default_factory=Usage)


def run_task(
    execution: Execution, task_id: str, payload: StepPayload, map_index: int = -1, item: object = None
) -> TaskEnd:
    """Carry out a task, tried again as its failures are."""
    number = 0
    while True:
        number += 1
        key = AttemptKey(
            sop=execution.sop, run_id=execution.run_id, step=task_id, map_index=map_index, attempt=number,
            task_instance_id=str(uuid.uuid5(uuid.NAMESPACE_OID, f"{execution.run_id}/{task_id}/{map_index}")),
        )  # fmt: skip
        values = execution_values(key, execution.run)
        try:
            assignment = build_assignment(key, payload, execution.conf, execution.xcoms, item, values)
        except InputsError as error:
            return TaskEnd("failed", message=str(error))
        events = EventLog(None, execution.redactor, {})
        context = StepContext(
            assignment, execution.log, events, execution.redactor, fleet=execution.fleet, call=execution.call
        )
        reporter = Reporter(_NOWHERE, execution.log, events)
        verdict, code = Attempt(context, reporter, datetime.now(UTC), _STOP_GRACE_SECONDS).execute()
        failure = classify(Evidence(exit_code=code, verdict=verdict))
        if failure is None:
            state = "skipped" if verdict.status == "skipped" else "success"
            return TaskEnd(state, verdict.outputs, verdict.reason or "", events.pending.rest(), verdict.usage)
        decision = RetryPolicy().decide(
            failure.type, number, payload.max_retries,
            memory_bytes=payload.memory_bytes if failure.scarce == "memory" else None,
            max_memory_bytes=payload.max_memory_bytes,
        )  # fmt: skip
        if decision.action == "fail":
            message = f"{failure.type} failure ({failure.code}): {failure.message}"
            return TaskEnd("failed", None, message, events.pending.rest(), verdict.usage)
        execution.sleep(decision.delay_seconds)
