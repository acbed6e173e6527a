"""Whether what a step depends on was approved, as our own tables say it, and not as somebody marked it in Airflow.

Airflow lets who may edit a DAG set any task to success or skipped, change its outputs, and clear a step without the
approval behind it. None of that is an approval: a step after one starts only if people gave it, of just the inputs,
results and document that there are now, or if the SOP itself skipped it.
"""

from __future__ import annotations

from airflow.models.taskinstance import TaskInstance
from airflow.utils.state import TaskInstanceState
from sqlalchemy import select
from sqlalchemy.orm import Session

from airflow_sop_provider.contract.attempt import AttemptKey
from airflow_sop_provider.contract.payload import PAYLOAD_KEY, StepPayload
from airflow_sop_provider.runs.approval_subject import subject_of
from airflow_sop_provider.runs.tasks import outputs_of_run
from airflow_sop_provider.store.approvals import last_of_step, outputs_of, policy_of
from airflow_sop_provider.store.control_tables import ApprovalRow
from airflow_sop_provider.store.execution_tables import AttemptRow
from airflow_sop_provider.store.executions import find_execution

__all__ = ["missing_approval"]


def missing_approval(session: Session, key: AttemptKey, payload: StepPayload) -> str | None:
    """Return why a step may not start, None if all approvals before it were given or skipped."""
    if not payload.approvals:
        return None
    execution = find_execution(session, key.sop, key.run_id)
    query = select(TaskInstance).where(
        TaskInstance.dag_id == key.sop,
        TaskInstance.run_id == key.run_id,
        TaskInstance.task_id.in_(payload.approvals),
        TaskInstance.state.in_((TaskInstanceState.SUCCESS, TaskInstanceState.SKIPPED)),
    )
    for task in session.scalars(query.order_by(TaskInstance.task_id, TaskInstance.map_index)):
        marked = (
            f"`{task.task_id}` is {task.state} in Airflow, but nobody approved it: it was marked by hand. "
            f"Clear `{task.task_id}` to have people asked."
        )
        if task.state == TaskInstanceState.SKIPPED:
            if not _skipped_by_the_sop(session, task):
                return marked
            continue
        row = None if execution is None else last_of_step(session, execution.id, task.task_id, task.map_index)
        if row is None or not _was_given(row, str(task.id)):
            return marked
        if not _says_the_same(session, task, row):
            return f"The outputs of `{task.task_id}` are not what people answered. Clear `{task.task_id}`."
        if _has_changed(session, task, row, payload):
            return (
                f"What `{task.task_id}` was approved for has changed since. "
                f"Clear `{task.task_id}` to have people asked anew."
            )
    return None


def _was_given(row: ApprovalRow, task_instance_id: str) -> bool:
    if row.task_instance_id != task_instance_id:
        return False
    return row.state == "approved" or (row.state == "rejected" and policy_of(row).on_reject == "continue")


def _says_the_same(session: Session, task: TaskInstance, row: ApprovalRow) -> bool:
    found = outputs_of_run(session, task.dag_id, task.run_id, [task.task_id]).get(task.task_id)
    said = outputs_of(session, row)
    return found == said if task.map_index < 0 else isinstance(found, list) and said in found


def _skipped_by_the_sop(session: Session, task: TaskInstance) -> bool:
    """Whether its `when` was false, or it has nothing to do: all steps before it were skipped, or there is no item."""
    query = select(AttemptRow.state).where(AttemptRow.task_instance_id == str(task.id))
    if "skipped" in session.scalars(query).all():
        return True
    theirs = _payload_of(task)
    if theirs.items_task is not None and outputs_of_run(session, task.dag_id, task.run_id, [theirs.items_task]) == {
        theirs.items_task: []
    }:
        return True
    needs = [theirs.items_task] if theirs.items_task is not None else theirs.step.get("needs", [])
    states = session.scalars(
        select(TaskInstance.state).where(
            TaskInstance.dag_id == task.dag_id, TaskInstance.run_id == task.run_id, TaskInstance.task_id.in_(needs)
        )
    ).all()
    return bool(states) and set(states) == {TaskInstanceState.SKIPPED}


def _payload_of(task: TaskInstance) -> StepPayload:
    return StepPayload.model_validate((task.executor_config or {})[PAYLOAD_KEY])


def _has_changed(session: Session, task: TaskInstance, row: ApprovalRow, payload: StepPayload) -> bool:
    theirs = _payload_of(task)
    if theirs.digest != payload.digest:
        return True
    key = AttemptKey(
        sop=task.dag_id, run_id=task.run_id, step=task.task_id, map_index=task.map_index,
        attempt=max(1, task.try_number), task_instance_id=str(task.id),
    )  # fmt: skip
    return subject_of(session, key, theirs).digest != row.subject_digest
