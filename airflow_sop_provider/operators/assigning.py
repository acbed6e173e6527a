"""From a worker's task context to the assignment of the attempt.

The counterpart of what `SopExecutor` reads from the database; what an assignment holds is decided
in `engine.assignments` for both.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException

from airflow_sop_provider.contract.attempt import AttemptKey
from airflow_sop_provider.contract.payload import StepPayload
from airflow_sop_provider.engine.assignments import InputsError, build_assignment, execution_values
from airflow_sop_provider.engine.rollback import FAILED_STATES, reason_to_skip, undone_step

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_sop_provider.contract.assignment import Assignment

__all__ = ["MEMORY_KEY", "assignment_of", "retry_number"]

MEMORY_KEY = "sop_memory_bytes"
"""Key of the task's state store under which a retry finds its larger memory limit."""


def assignment_of(payload: StepPayload, item: object, context: Context) -> Assignment:
    """Return the assignment of the attempt that ``context`` describes.

    :raises AirflowSkipException: a rollback step that has nothing to undo.
    :raises AirflowFailException: the run's conf does not fit the SOP's inputs.
    """
    ti = context["ti"]
    if payload.kind == "rollback":
        _skip_without_failure(payload, ti)
    key = AttemptKey(
        sop=ti.dag_id,
        run_id=ti.run_id,
        step=ti.task_id,
        map_index=-1 if ti.map_index is None else ti.map_index,
        attempt=ti.try_number,
        task_instance_id=str(ti.id),
    )
    memory = _remembered_memory(context)
    if memory is not None:
        payload = payload.model_copy(update={"memory_bytes": memory})
    run = context["dag_run"]
    values = execution_values(key, {name: getattr(run, name, None) for name in _RUN_VALUES})
    try:
        return build_assignment(key, payload, run.conf, _outputs(payload, context), item, values)
    except InputsError as error:
        raise AirflowFailException(str(error)) from None


_RUN_VALUES = ("logical_date", "run_after", "run_type", "data_interval_start", "triggered_by")


def retry_number(attempt: int, max_tries: int, max_retries: int) -> int:
    """Return the number of the attempt since the task was last cleared, from 1.

    Clearing a task goes on counting its tries and moves Airflow's ``max_tries`` along.
    """
    return max(1, attempt - max(0, max_tries - max_retries))


def _skip_without_failure(payload: StepPayload, ti: Any) -> None:
    run = {"dag_id": ti.dag_id, "run_ids": [ti.run_id]}
    reason = reason_to_skip(
        payload,
        undone_succeeded=ti.get_ti_count(**run, task_ids=[undone_step(payload)], states=["success"]) > 0,
        execution_failed=ti.get_ti_count(**run, states=list(FAILED_STATES)) > 0,
    )
    if reason is not None:
        raise AirflowSkipException(reason)


def _remembered_memory(context: Context) -> int | None:
    store = context.get("task_state_store")
    value = store.get(MEMORY_KEY) if store is not None else None
    return value if isinstance(value, int) else None


def _outputs(payload: StepPayload, context: Context) -> Mapping[str, Any]:
    """Return the outputs of the steps that are read; a step without any is absent, a mapped one a list."""
    tasks = context["dag"].task_dict
    found: dict[str, Any] = {}
    for step in payload.reads:
        values = [value for value in context["ti"].xcom_pull(task_ids=[step]) if value is not None]
        if values:
            found[step] = values if tasks[step].is_mapped else values[0]
    return found
