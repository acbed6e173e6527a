"""What a worker of another executor asks about approvals: it has no database, and must not judge by itself.

Opened by the token of the very attempt it carries, while Airflow has that running. What is asked and judged follows
from Airflow's own record of the task; of the caller only the question's words are taken.
"""

from __future__ import annotations

from typing import Annotated, Any
from uuid import UUID

from airflow.api_fastapi.common.db.common import SessionDep
from airflow.models.taskinstance import TaskInstance
from airflow.utils.state import TaskInstanceState
from fastapi import APIRouter, Depends, HTTPException, status
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from pydantic import BaseModel

from airflow_sop_provider.api.runner_auth import signing_key
from airflow_sop_provider.contract.approval import ApprovalQuestion, Settled
from airflow_sop_provider.contract.attempt import AttemptKey
from airflow_sop_provider.contract.payload import PAYLOAD_KEY, StepPayload
from airflow_sop_provider.engine.runner_tokens import RunnerTokenError, attempt_of_token
from airflow_sop_provider.runs.approval_guard import missing_approval
from airflow_sop_provider.runs.approvals import ask_people, settle

__all__ = ["router"]

router = APIRouter(prefix="/worker/approval", tags=["runner"])

_BEARER = HTTPBearer(auto_error=False, description="The token of one attempt, made by its worker.")


class CarriedTask:
    """The task that a worker carries.

    :ivar payload: as Airflow has it.
    """

    def __init__(self, key: AttemptKey, payload: StepPayload) -> None:
        self.key, self.payload = key, payload


def carried_task(
    session: SessionDep, given: Annotated[HTTPAuthorizationCredentials | None, Depends(_BEARER)]
) -> CarriedTask:
    """Return the task whose token the caller has."""
    refused = HTTPException(status.HTTP_401_UNAUTHORIZED, "This is no token of an attempt that runs.")
    if given is None:
        raise refused
    try:
        key = attempt_of_token(given.credentials, signing_key())
        task = session.get(TaskInstance, UUID(key.task_instance_id))
    except (RunnerTokenError, ValueError):
        raise refused from None
    if task is None or task.state != TaskInstanceState.RUNNING or task.try_number != key.attempt:
        raise refused
    payload = (task.executor_config or {}).get(PAYLOAD_KEY)
    if payload is None or (task.dag_id, task.run_id, task.task_id, task.map_index) != (
        key.sop, key.run_id, key.step, key.map_index,
    ):  # fmt: skip
        raise refused
    return CarriedTask(key, StepPayload.model_validate(payload))


Carried = Annotated[CarriedTask, Depends(carried_task)]


class Missing(BaseModel):
    """Which approval before a step is missing, in words; None: it may start."""

    missing: str | None


@router.post("/ask")
def post_ask(body: ApprovalQuestion, carried: Carried, session: SessionDep) -> Settled:
    """Ask people, and say where that stands."""
    _asks(carried)
    question: dict[str, Any] = body.model_dump(exclude_none=True)
    return ask_people(session, carried.key, carried.payload, question)


@router.post("/settle")
def post_settle(carried: Carried, session: SessionDep) -> Settled:
    """Judge what people have answered."""
    _asks(carried)
    return settle(session, carried.key, carried.payload)


@router.post("/missing")
def post_missing(carried: Carried, session: SessionDep) -> Missing:
    """Say whether all approvals before the task were given."""
    return Missing(missing=missing_approval(session, carried.key, carried.payload))


def _asks(carried: CarriedTask) -> None:
    if not carried.payload.asks_people:
        raise HTTPException(status.HTTP_409_CONFLICT, f"{carried.key.step} is no approval.")
