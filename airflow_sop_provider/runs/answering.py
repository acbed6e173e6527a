"""An answer given to the engine itself, not through Airflow's request: judged at once, and a decided task goes on.

Whoever answers is told whether it counts, which Airflow's own way cannot say. Both ways meet in the same tables: what
stands unjudged in Airflow's request is judged first, and a decision made here is written there, as Airflow would.
"""

from __future__ import annotations

from uuid import UUID

from airflow.models.hitl import HITLDetail
from airflow.models.taskinstance import TaskInstance
from airflow.models.trigger import handle_event_submit
from airflow.triggers.base import TriggerEvent
from airflow.utils.state import TaskInstanceState
from sqlalchemy.orm import Session

from airflow_sop_provider.contract.attempt import AttemptKey
from airflow_sop_provider.contract.payload import PAYLOAD_KEY, StepPayload
from airflow_sop_provider.engine.approvals import Answer, Person
from airflow_sop_provider.runs.approval_subject import subject_of
from airflow_sop_provider.runs.approval_text import APPROVE, REJECT
from airflow_sop_provider.runs.approvals import named, show_request, take_response
from airflow_sop_provider.store.approvals import expire, policy_of, take_answer, void
from airflow_sop_provider.store.base import utc_now
from airflow_sop_provider.store.control_tables import ApprovalRow
from airflow_sop_provider.store.execution_tables import ExecutionRow

__all__ = ["give_answer"]

_UNDER_WAY = frozenset(
    {
        TaskInstanceState.AWAITING_INPUT,
        TaskInstanceState.DEFERRED,
        TaskInstanceState.SCHEDULED,
        TaskInstanceState.QUEUED,
        TaskInstanceState.RUNNING,
    }
)


def give_answer(
    session: Session, row: ApprovalRow, person: Person, choice: str, meaning: str | None, comment: str | None
) -> str | None:
    """Take a person's answer; return why it does not count, None if it does.

    Commit in either case: that it does not count is in the audit log.

    :param row: locked.
    :param meaning: what the signature states; None: what the SOP says.
    """
    execution = session.get_one(ExecutionRow, row.execution_id)
    task = session.get(TaskInstance, UUID(row.task_instance_id), with_for_update={"of": TaskInstance})
    if task is None or task.state not in _UNDER_WAY:
        return f"{row.step} does not wait for an answer any more; it was cleared or ended in Airflow"
    key = AttemptKey(
        sop=task.dag_id, run_id=task.run_id, step=task.task_id, map_index=task.map_index, attempt=task.try_number,
        task_instance_id=row.task_instance_id,
    )  # fmt: skip
    payload = StepPayload.model_validate((task.executor_config or {})[PAYLOAD_KEY])
    subject, was = subject_of(session, key, payload), row.state
    take_response(session, execution, row)
    now = utc_now()
    if row.expires_at is not None and row.expires_at <= now:
        expire(session, execution, row, now)
    reason = None
    if row.state == "waiting" and row.subject_digest != subject.digest:
        reason = "what it is about has changed since it was asked; you will be asked anew"
        void(session, execution, row, "the inputs, the results before it or the SOP have changed")
    answer = Answer(
        person=person, choice="approved" if choice == "approved" else "rejected", at=now,
        meaning=meaning or policy_of(row).meaning, comment=comment,
    )  # fmt: skip
    is_named = named(session, row).include(person)
    reason = reason or take_answer(session, execution, row, answer, is_named=is_named, way="engine")
    if row.state == "waiting":
        show_request(session, row, subject)
    elif was == "waiting":
        _go_on(session, task, answer if reason is None else None)
    return reason


def _go_on(session: Session, task: TaskInstance, answer: Answer | None) -> None:
    """Note the decision in Airflow's request as Airflow itself would, and put the task back into the queue.

    A task that is under way just now finds the request answered when it is to be parked, and goes on at once.

    :param answer: that decided; None: nobody's, the question is void or the time is over.
    """
    detail = session.get(HITLDetail, task.id, populate_existing=True)
    if detail is None:
        return
    if answer is not None and detail.responded_at is None:
        detail.responded_by = {"id": answer.person.id, "name": answer.person.name}
        detail.responded_at = answer.at
        detail.chosen_options = [APPROVE if answer.choice == "approved" else REJECT]
        detail.params_input = {"comment": answer.comment, "meaning": answer.meaning}
        session.flush()
    if task.state in (TaskInstanceState.AWAITING_INPUT, TaskInstanceState.DEFERRED):
        said = (
            {"error": "It is void or over.", "error_type": "unknown"}
            if answer is None
            else (detail.as_resume_event_payload())
        )
        event = TriggerEvent(said)  # type: ignore[no-untyped-call]  # Airflow's own
        handle_event_submit(event, task_instance=task, session=session)
