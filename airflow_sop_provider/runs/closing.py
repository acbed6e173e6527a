"""Closes the execution of a DAG run that is over: attempts completed, result gathered, status told.

Attempts that nobody recorded (a worker without our executor carried them, or it died at the wrong moment) are taken
from what Airflow remembers, so that the audit log has begin and end of every one.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from airflow.models.dagrun import DagRun
from airflow.utils.state import DagRunState
from sqlalchemy import select
from sqlalchemy.orm import Session

from airflow_sop_provider.contract.attempt import AttemptKey
from airflow_sop_provider.engine.execution_context import ExecutionContext
from airflow_sop_provider.engine.execution_state import ExecutionResult, ExecutionStatus, TaskState
from airflow_sop_provider.runs.tasks import Try, outputs_of_run, task_states, tries_of_run
from airflow_sop_provider.store.approvals import void_waiting
from airflow_sop_provider.store.attempts import (
    AttemptBegin,
    AttemptEnd,
    AttemptState,
    begin_attempt,
    end_attempt,
)
from airflow_sop_provider.store.base import utc_now
from airflow_sop_provider.store.conformance import Conformance, conformance_of, tell_deviation
from airflow_sop_provider.store.execution_tables import AttemptRow, ExecutionRow
from airflow_sop_provider.store.executions import cancel_execution, close_execution
from airflow_sop_provider.store.spending import total_spent

__all__ = ["close_run", "result_of"]

_OVER = (DagRunState.SUCCESS.value, DagRunState.FAILED.value)
_STATE_OF: dict[str, AttemptState] = {"success": "succeeded", "skipped": "skipped", "failed": "failed"}
_RESULT_BYTES = 1_000_000
"""Outputs above this size stay in Airflow's XCom, where the result says they are."""


def close_run(session: Session, row: ExecutionRow) -> bool:
    """Close an execution whose DAG run is over or gone; return whether it was closed now."""
    run = session.execute(
        select(DagRun.state, DagRun.end_date).where(DagRun.dag_id == row.sop, DagRun.run_id == row.run_id)
    ).one_or_none()
    if run is None:
        cancel_execution(session, row, "airflow", "the DAG run was deleted")
        void_waiting(session, row, "the DAG run was deleted")
        _complete_attempts(session, row, [])
        return close_execution(session, row, ExecutionStatus.CANCELLED, {"outputs": {}, "failed": []})
    state, ended_at = run
    if state not in _OVER:
        return False
    void_waiting(session, row, "the execution is over")
    _complete_attempts(session, row, tries_of_run(session, row.sop, row.run_id))
    status, result = result_of(session, row, str(state))
    found = _compared(session, row, status)
    said = []
    if found is not None:
        result["conformance"] = found.to_dict()
        if found.deviations:
            said.append(found.entry())
            # the SOP's agents have a policy; of an SOP without agents it is told, and Airflow's result stands
            policy = (row.context.get("agent") or {"on_deviation": "escalate"}).get("on_deviation", "fail")
            failed = policy == "fail" and status is ExecutionStatus.COMPLETED
            status = ExecutionStatus.FAILED if failed else status
    closed = close_execution(session, row, status, result, at=ended_at or utc_now(), said=said)
    if closed and found is not None and found.deviations:
        tell_deviation(session, row, found)
    return closed


def _compared(session: Session, row: ExecutionRow, status: ExecutionStatus) -> Conformance | None:
    tasks = task_states(session, row.sop, row.run_id)
    skipped = {task.task_id for task in tasks if task.state in ("skipped", "removed")}
    return conformance_of(session, row, complete=status is ExecutionStatus.COMPLETED, skipped=skipped)


def result_of(session: Session, row: ExecutionRow, state: str) -> tuple[ExecutionStatus, dict[str, Any]]:
    """Return what an execution came to, and its result as JSON.

    :param state: of its DAG run.
    """
    context = ExecutionContext.model_validate(row.context)
    tasks = task_states(session, row.sop, row.run_id)
    outputs = outputs_of_run(session, row.sop, row.run_id, [step.id for step in context.steps])
    found = ExecutionResult.of(context.graph, tasks, outputs)
    attempts = session.scalars(select(AttemptRow).where(AttemptRow.execution_id == row.id)).all()
    result = {
        "outputs": _bounded(found.outputs),
        "failed": list(found.failed),
        "attempts": len(attempts),
        "retries": sum(attempt.state == "retrying" for attempt in attempts),
        "errors": _errors(attempts),
        "usage": _usage(attempts),
    }
    return _status(row, state, found.status, tasks, attempts), result


def _status(
    row: ExecutionRow,
    state: str,
    status: ExecutionStatus,
    tasks: Iterable[TaskState],
    attempts: Iterable[AttemptRow],
) -> ExecutionStatus:
    if state == DagRunState.FAILED and (row.cancelled_by or any(one.state == "stopped" for one in attempts)):
        return ExecutionStatus.CANCELLED
    if status.is_final and (status is not ExecutionStatus.COMPLETED or state == DagRunState.SUCCESS):
        return status
    # marked by a person while steps were still to come, or ended by Airflow itself (a time limit)
    marked = ExecutionStatus.COMPLETED if state == DagRunState.SUCCESS else ExecutionStatus.FAILED
    return (
        marked
        if any(task.state is not None for task in tasks) or state == DagRunState.SUCCESS
        else (ExecutionStatus.CANCELLED)
    )


def _complete_attempts(session: Session, row: ExecutionRow, tries: Iterable[Try]) -> None:
    known = {
        (attempt.task_instance_id, attempt.attempt): attempt
        for attempt in session.scalars(select(AttemptRow).where(AttemptRow.execution_id == row.id))
    }
    for one in tries:
        attempt = known.pop((one.key.task_instance_id, one.key.attempt), None)
        if attempt is None and one.state not in ("upstream_failed", "removed", None):
            begin_attempt(session, row, AttemptBegin(key=one.key, kind="step", at=one.started_at or utc_now()))
        if attempt is None or attempt.ended_at is None:
            _end(session, row, one)
    for attempt in known.values():  # Airflow has forgotten the try: its task was cleared or the run deleted
        if attempt.ended_at is None:
            _end(session, row, _forgotten(row, attempt))


def _end(session: Session, row: ExecutionRow, one: Try) -> None:
    state = _STATE_OF.get(one.state or "", "stopped")
    message = f"Airflow has it as {one.state or 'gone'}; what carried it did not say"
    if row.cancelled_by and state == "failed":  # so Airflow calls what it ended; nothing is wrong with the step
        state, message = "stopped", f"The execution was cancelled by {row.cancelled_by}"
    failed = state == "failed"
    end = AttemptEnd(
        key=one.key,
        state=state,
        message=message,
        at=one.ended_at or utc_now(),
        error_type="crash" if failed else None,
        error_code="not-recorded" if failed else None,
    )
    end_attempt(session, row, end)


def _forgotten(row: ExecutionRow, attempt: AttemptRow) -> Try:
    key = AttemptKey(
        sop=row.sop, run_id=row.run_id, step=attempt.step, map_index=attempt.map_index, attempt=attempt.attempt,
        task_instance_id=attempt.task_instance_id,
    )  # fmt: skip
    return Try(key, None, attempt.started_at, None)


def _bounded(outputs: Mapping[str, Any]) -> Mapping[str, Any]:
    size = len(json.dumps(outputs, default=str))
    return outputs if size <= _RESULT_BYTES else {"in_xcom": sorted(outputs), "bytes": size}


def _errors(attempts: Iterable[AttemptRow]) -> list[dict[str, Any]]:
    return [
        {
            "step": one.step,
            "map_index": one.map_index,
            "attempt": one.attempt,
            "type": one.error_type,
            "code": one.error_code,
            "message": one.error_message,
            "at": _iso(one.ended_at),
            "retry_delay_seconds": one.retry_delay_seconds,
            "retry_reason": one.retry_reason,
        }
        for one in sorted(attempts, key=lambda attempt: attempt.id)
        if one.error_type is not None
    ]


def _usage(attempts: Iterable[AttemptRow]) -> dict[str, Any]:
    listed = list(attempts)
    total = {
        name: sum(value for one in listed if (value := getattr(one, name)) is not None)
        for name in ("cpu_seconds", "wall_seconds", "network_received_bytes", "network_sent_bytes")
    }
    peak = max((one.peak_memory_bytes or 0 for one in listed), default=0)
    return {**total, "peak_memory_bytes": peak, **_of_agents(listed)}


def _of_agents(attempts: Iterable[AttemptRow]) -> dict[str, Any]:
    """Return what agents spent, nothing where none worked; the last attempt of a step holds that of earlier ones."""
    last = {(one.step, one.map_index): one.usage or {} for one in sorted(attempts, key=lambda one: one.attempt)}
    usages = [{**usage, "seconds": usage.get("agent_seconds")} for usage in last.values() if "model_calls" in usage]
    return {"agents": total_spent(usages)} if usages else {}


def _iso(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat()
