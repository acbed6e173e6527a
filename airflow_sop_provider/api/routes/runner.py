"""What a runner says and asks while it works; opened by its own attempt's token and nothing else."""

from __future__ import annotations

from typing import Annotated, Any

from airflow.api_fastapi.common.db.common import SessionDep
from airflow.utils.session import create_session
from fastapi import APIRouter, Depends, HTTPException, Request, status
from fastapi.concurrency import run_in_threadpool
from pydantic import BaseModel, ConfigDict, Field

from airflow_sop_provider.api.runner_auth import (
    Proof,
    RunnerIdentity,
    RunnerRefusedError,
    authenticated_runner,
    heard_from,
    proved,
    refused,
    running_attempt,
)
from airflow_sop_provider.api.statements import statements
from airflow_sop_provider.store.attempts import record_events
from airflow_sop_provider.store.execution_tables import CheckpointRow, ExecutionRow
from airflow_sop_provider.store.spending import spent_by_agents

__all__ = ["router"]


async def _sized(request: Request) -> None:
    """Refuse a body whose size is not told beforehand; how large it may be is for `api.limits`."""
    length = request.headers.get("content-length", "0" if request.method == "GET" else "")
    if not length.isdecimal():
        raise HTTPException(status.HTTP_411_LENGTH_REQUIRED, "Say the body's size (Content-Length).")


router = APIRouter(prefix="/runner", tags=["runner"], dependencies=[Depends(_sized)])

Runner = Annotated[RunnerIdentity, Depends(authenticated_runner)]


class Events(BaseModel):
    """Events of the attempt, with ``seq`` counted from 1; 0 is a heartbeat."""

    model_config = ConfigDict(extra="forbid")

    events: list[dict[str, Any]] = Field(max_length=1000)


class EventsAnswer(BaseModel):
    """How many events of the attempt are stored; those after them have to be sent (again)."""

    stored: int


class CheckpointAnswer(BaseModel):
    """What agents of the execution's other steps have spent."""

    spent_elsewhere: dict[str, float]


@router.post("/events")
async def post_events(body: Events, proof: Annotated[Proof, Depends(proved)]) -> EventsAnswer:
    """Store events; what is stored already is passed over."""
    if any(not isinstance(event.get("seq", 0), int) for event in body.events):
        raise HTTPException(status.HTTP_422_UNPROCESSABLE_CONTENT, "`seq` of an event is a whole number.")
    try:
        return EventsAnswer(stored=await run_in_threadpool(_store, proof, body.events))
    except RunnerRefusedError as error:
        raise refused(str(error)) from None


def _store(proof: Proof, events: list[dict[str, Any]]) -> int:
    if not any(event.get("seq", 0) for event in events):  # what runners say most of the time: that they live
        with statements() as connection:
            stored = heard_from(connection, proof)
        if stored is not None:
            return stored
    with create_session(scoped=False) as session:
        attempt = running_attempt(session, proof)
        execution = session.get_one(ExecutionRow, attempt.execution_id)
        return record_events(session, execution, attempt, events)


@router.get("/checkpoint")
def get_checkpoint(runner: Runner, session: SessionDep) -> dict[str, Any]:
    """Return what an earlier attempt of this step has left, just as it was put; ``{}`` if nothing."""
    row = session.get(CheckpointRow, (runner.execution_id, runner.step, runner.map_index))
    return {} if row is None else row.data


@router.put("/checkpoint")
def put_checkpoint(body: dict[str, Any], runner: Runner, session: SessionDep) -> CheckpointAnswer:
    """Keep what an agent has done so far; an attempt that was overtaken by a later one is refused.

    The answer says what the execution's other steps have spent, as a budget is the execution's.
    """
    row = session.get(CheckpointRow, (runner.execution_id, runner.step, runner.map_index), with_for_update=True)
    if row is None:
        row = CheckpointRow(execution_id=runner.execution_id, step=runner.step, map_index=runner.map_index)
        session.add(row)
    elif row.attempt > runner.attempt:
        raise HTTPException(status.HTTP_409_CONFLICT, f"Attempt {row.attempt} has gone on from here.")
    row.attempt, row.data = runner.attempt, body
    others = spent_by_agents(session, runner.execution_id, but=(runner.step, runner.map_index))
    return CheckpointAnswer(spent_elsewhere=others)
