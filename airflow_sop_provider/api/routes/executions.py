"""Executions: submit, list, follow, cancel, result."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import datetime
from typing import Annotated, Any

from airflow.api_fastapi.auth.managers.models.base_user import BaseUser
from airflow.api_fastapi.common.dagbag import DagBagDep
from airflow.api_fastapi.common.db.common import SessionDep
from airflow.api_fastapi.core_api.datamodels.dag_run import DagRunMutableStates
from airflow.api_fastapi.core_api.services.public.dag_run import patch_dag_run_state
from airflow.utils.session import create_session
from fastapi import APIRouter, Header, HTTPException, Query, Request, Response, status
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import StreamingResponse
from sqlalchemy.orm import Session

from airflow_sop_provider.api.access import CanRead, CanRun, CanSubmit, GetUserDep, ReadableSops
from airflow_sop_provider.api.models import (
    Attempt,
    CancelRequest,
    Execution,
    ExecutionPage,
    ExecutionResultBody,
    ExecutionStatusBody,
    SubmitRequest,
)
from airflow_sop_provider.api.recent import RecentUser, check_readable
from airflow_sop_provider.api.statements import statements
from airflow_sop_provider.api.submitting import RefusedError, Submission, submit
from airflow_sop_provider.engine.execution_state import ExecutionStatus
from airflow_sop_provider.runs.live import Standing, standing
from airflow_sop_provider.runs.opening import find_run, opened
from airflow_sop_provider.store.execution_queries import BadCursorError, ExecutionFilter, attempts_of, page_of
from airflow_sop_provider.store.execution_tables import ExecutionRow
from airflow_sop_provider.store.executions import cancel_execution
from airflow_sop_provider.store.spending import spent_by_agents

__all__ = ["router"]

router = APIRouter(tags=["executions"])

_FOLLOW_SECONDS = 1.0
_ONE = "/sops/{dag_id}/executions/{run_id}"

IdempotencyKey = Annotated[
    str | None,
    Header(max_length=200, description="The same key again gives the same execution, however often it is sent."),
]


@router.get("/executions")
def list_executions(
    session: SessionDep,
    readable: ReadableSops,
    sop: Annotated[str | None, Query(max_length=250)] = None,
    control: Annotated[str | None, Query(max_length=250)] = None,
    execution_status: Annotated[list[ExecutionStatus] | None, Query(alias="status")] = None,
    mode: Annotated[str | None, Query(pattern="^(system_design|agent_centric)$")] = None,
    priority: Annotated[str | None, Query(pattern="^(critical|high|normal|low)$")] = None,
    agent: Annotated[str | None, Query(max_length=250)] = None,
    batch: Annotated[str | None, Query(max_length=250)] = None,
    submitted_from: datetime | None = None,
    submitted_until: datetime | None = None,
    limit: Annotated[int, Query(ge=1, le=500)] = 50,
    cursor: Annotated[str | None, Query(max_length=200)] = None,
) -> ExecutionPage:
    """List the executions that the caller may see, the newest first."""
    wanted = ExecutionFilter(
        sops=frozenset(readable if sop is None else readable & {sop}),
        control=control,
        statuses=tuple(one.value for one in execution_status or ()),
        mode=mode,
        priority=priority,
        agent=agent,
        batch=batch,
        submitted_from=submitted_from,
        submitted_until=submitted_until,
    )
    try:
        rows, following = page_of(session, wanted, limit=limit, cursor=cursor)
    except BadCursorError as error:
        raise HTTPException(status.HTTP_422_UNPROCESSABLE_CONTENT, str(error)) from None
    return ExecutionPage(executions=[Execution.model_validate(row) for row in rows], next_cursor=following)


@router.post(
    "/sops/{dag_id}/executions",
    dependencies=[CanSubmit],
    status_code=status.HTTP_201_CREATED,
    responses={200: {"model": Execution, "description": "The execution that the idempotency key named before"}},
)
def submit_execution(
    dag_id: str,
    body: SubmitRequest,
    response: Response,
    session: SessionDep,
    user: GetUserDep,
    dag_bag: DagBagDep,
    idempotency_key: IdempotencyKey = None,
) -> Execution:
    """Start an execution; 200 instead of 201 where the idempotency key names one that exists."""
    submission = Submission(sop=dag_id, request=body, user=user.get_name(), key=idempotency_key)
    try:
        row, created = submit(session, submission, dag_bag)
    except RefusedError as refused:
        raise HTTPException(refused.status, str(refused)) from None
    if not created:
        response.status_code = status.HTTP_200_OK
    return Execution.model_validate(row)


@router.get(_ONE, dependencies=[CanRead])
def get_execution(dag_id: str, run_id: str, session: SessionDep) -> ExecutionResultBody:
    """Return an execution with its context, its attempts and, once it is over, its result."""
    row = _row(session, dag_id, run_id)
    return ExecutionResultBody(
        execution=Execution.model_validate(row),
        context=row.context,
        result=row.result,
        attempts=[Attempt.model_validate(attempt) for attempt in attempts_of(session, row)],
        spent=spent_by_agents(session, row.id),
    )


@router.get(f"{_ONE}/status", response_model=ExecutionStatusBody)
async def get_execution_status(dag_id: str, run_id: str, user: RecentUser) -> Response:
    """Return where an execution stands: status, progress, time, the state of every step."""
    # one visit to a thread for all of it, and the body as it is: FastAPI would validate and convert it once more
    body = await run_in_threadpool(_readable_status, user, dag_id, run_id)
    return Response(body.model_dump_json(), media_type="application/json", headers={"Cache-Control": "no-store"})


@router.get(f"{_ONE}/events", dependencies=[CanRead], response_class=StreamingResponse)
async def follow_execution(dag_id: str, run_id: str, request: Request) -> StreamingResponse:
    """Follow an execution by server-sent events: ``status`` at each change, the last one with its final status."""
    await run_in_threadpool(_status_now, dag_id, run_id)  # 404 before the stream begins
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return StreamingResponse(_changes(dag_id, run_id, request), media_type="text/event-stream", headers=headers)


@router.post(f"{_ONE}/cancel", dependencies=[CanRun])
def cancel(
    dag_id: str, run_id: str, body: CancelRequest, session: SessionDep, user: GetUserDep, dag_bag: DagBagDep
) -> Execution:
    """Cancel an execution: its running steps are ended, nothing else of it starts."""
    row = _row(session, dag_id, run_id)
    if ExecutionStatus(row.status).is_final:
        raise HTTPException(status.HTTP_409_CONFLICT, f"The execution is over: {row.status}.")
    run = find_run(session, dag_id, run_id)
    dag = None if run is None else dag_bag.get_dag_for_run(run, session=session)
    if run is None or dag is None:
        raise HTTPException(status.HTTP_404_NOT_FOUND, "Airflow has this run no more.")
    cancel_execution(session, row, user.get_name(), body.reason)
    patch_dag_run_state(dag=dag, dag_run=run, state=DagRunMutableStates.FAILED, session=session)
    return Execution.model_validate(row)


def _row(session: Session, dag_id: str, run_id: str) -> ExecutionRow:
    row = opened(session, dag_id, run_id)
    if row is None:
        raise HTTPException(status.HTTP_404_NOT_FOUND, f"There is no execution {run_id} of {dag_id}.")
    return row


def _readable_status(user: BaseUser, dag_id: str, run_id: str) -> ExecutionStatusBody:
    check_readable(user, dag_id)
    return _status_now(dag_id, run_id)


def _status_now(dag_id: str, run_id: str) -> ExecutionStatusBody:
    now = _standing(dag_id, run_id)
    if now is None:
        with create_session(scoped=False) as session:  # nobody has met this run before
            _row(session, dag_id, run_id)
        now = _standing(dag_id, run_id)
        assert now is not None, "it was opened just now"
    return ExecutionStatusBody(
        execution=f"{dag_id}/{run_id}",
        status=now.status,
        progress=now.progress,
        elapsed_seconds=now.elapsed_seconds,
        current_steps=now.current_steps,
        steps=dict(now.steps),
        dependencies={step: list(needs) for step, needs in now.dependencies.items()},
        flagged=now.flagged,
    )


def _standing(dag_id: str, run_id: str) -> Standing | None:
    with statements() as connection:
        return standing(connection, dag_id, run_id)


async def _changes(dag_id: str, run_id: str, request: Request) -> AsyncIterator[str]:
    known: dict[str, Any] = {}
    while not await request.is_disconnected():
        now = await run_in_threadpool(_status_now, dag_id, run_id)
        shown = now.model_dump(mode="json")
        if {**shown, "elapsed_seconds": None} != {**known, "elapsed_seconds": None}:
            known = shown
            yield f"event: status\ndata: {json.dumps(shown)}\n\n"
        else:
            yield ": still there\n\n"
        if now.status.is_final:
            return
        await asyncio.sleep(_FOLLOW_SECONDS)
