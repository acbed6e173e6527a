"""What the API takes and gives, as models; OpenAPI is made of them."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import Path
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from airflow_sop_provider.engine.execution_state import ExecutionStatus
from airflow_sop_provider.sop.models import Priority

__all__ = [
    "Attempt",
    "CancelRequest",
    "Execution",
    "ExecutionPage",
    "ExecutionResultBody",
    "ExecutionStatusBody",
    "RowId",
    "ScheduleRequest",
    "SubmitRequest",
]

RowId = Annotated[int, Path(ge=1, le=2**53)]
"""Number of a row, as part of a path; what no database can hold is refused before it is asked."""

_NAME = r"^[A-Za-z0-9_.~:+-]{1,200}$"


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid")


class ScheduleRequest(_Body):
    """When an execution may start.

    :param not_before: not before this moment; now if left out.
    :param batch: name of the batch it belongs to.
    """

    not_before: AwareDatetime | None = None
    batch: Annotated[str, Field(pattern=_NAME)] | None = None


class SubmitRequest(_Body):
    """An execution to start.

    :param inputs: as the SOP's ``inputs`` describe them.
    :param execution_mode: the mode the caller counts on; another one than the SOP's is refused.
    :param priority: of this execution; the SOP's if left out.
    """

    inputs: dict[str, Any] = Field(default_factory=dict)
    execution_mode: Literal["auto", "system_design", "agent_centric"] = "auto"
    priority: Priority | None = None
    schedule: ScheduleRequest | None = None


class CancelRequest(_Body):
    """Why an execution is cancelled."""

    reason: str | None = Field(default=None, max_length=1000)


class Attempt(BaseModel):
    """One try of one step."""

    model_config = ConfigDict(from_attributes=True)

    step: str
    map_index: int
    attempt: int
    state: str
    runtime: str | None
    container: str | None
    error_type: str | None
    error_code: str | None
    error_message: str | None
    retry_delay_seconds: float | None
    retry_reason: str | None
    memory_bytes: int | None
    usage: dict[str, Any] | None
    outputs_digest: str | None
    started_at: datetime
    ended_at: datetime | None


class ExecutionStatusBody(BaseModel):
    """Where an execution stands.

    :param progress: share of the steps that are over, 0 to 1.
    :param elapsed_seconds: since its first attempt began, until its end.
    :param steps: step -> state; every step is there.
    """

    execution: str
    status: ExecutionStatus
    progress: float
    elapsed_seconds: float | None
    current_steps: list[str]
    steps: dict[str, str]
    dependencies: dict[str, list[str]]
    flagged: bool


class Execution(BaseModel):
    """An execution as lists show it."""

    model_config = ConfigDict(from_attributes=True)

    sop: str
    run_id: str
    version: str | None
    digest: str | None
    control: str | None
    control_type: str | None
    mode: str
    priority: str
    owner: str | None
    agent: str | None
    batch: str | None
    run_type: str
    requested_by: str | None
    status: ExecutionStatus
    flagged: bool
    inputs: dict[str, Any]
    submitted_at: datetime
    run_after: datetime | None
    started_at: datetime | None
    ended_at: datetime | None
    cancelled_by: str | None
    cancel_reason: str | None


class ExecutionResultBody(BaseModel):
    """What an execution came to, with every attempt.

    :param spent: by its agents so far, over all steps and attempts.
    """

    execution: Execution
    context: dict[str, Any]
    result: dict[str, Any] | None
    attempts: list[Attempt]
    spent: dict[str, float]


class ExecutionPage(BaseModel):
    """Executions in order of submission, the newest first.

    :param next_cursor: ask with it for those after these; None: there are none.
    """

    executions: list[Execution]
    next_cursor: str | None
