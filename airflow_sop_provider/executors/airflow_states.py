"""Sets a task instance's state and XComs with Airflow's own functions, in a transaction of ours.

The Execution API's routes are Python functions of a session. Over HTTP each is a call with a token, a transaction and
0.007 CPU-s of the API server, and between two of them anything may die. Called here, in the scheduler's own trust, they
share one transaction with what the engine records of the attempt: either all of it is true or nothing. What a state
means, which transitions there are and what is stored with them stays Airflow's code.
`tests/executors/test_airflow_states.py` compares every row with what the API leaves.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal
from uuid import UUID

from airflow.api_fastapi.execution_api.datamodels.taskinstance import (
    TIAwaitingInputStatePayload,
    TIEnterRunningPayload,
    TIRetryStatePayload,
    TISuccessStatePayload,
    TITerminalStatePayload,
)
from airflow.api_fastapi.execution_api.datamodels.token import TIClaims, TIToken
from airflow.api_fastapi.execution_api.routes.task_instances import ti_run, ti_update_state
from airflow.api_fastapi.execution_api.routes.xcoms import set_xcom
from airflow.models.dagbag import DBDagBag
from fastapi import HTTPException, Response
from sqlalchemy.exc import DataError, OperationalError, StatementError
from sqlalchemy.orm import Session

from airflow_sop_provider.contract import AttemptKey
from airflow_sop_provider.executors.messages import Identity

__all__ = ["Output", "OutputsRefused", "Report", "Superseded", "UnexpectedAnswer", "report", "start"]

State = Literal["success", "failed", "skipped", "up_for_retry", "awaiting_input"]

Payload = TISuccessStatePayload | TIRetryStatePayload | TITerminalStatePayload | TIAwaitingInputStatePayload

_NOT_OURS = (404, 409, 410)
_REASON_LENGTH = 500
_RUN_FIELDS = {"conf", "logical_date", "run_after", "run_type", "data_interval_start"}


class Superseded(Exception):
    """The task instance is no longer this attempt's to report: it was ended, cleared or deleted in Airflow.

    :param state: the state found, None if the task instance is gone.
    """

    def __init__(self, state: str | None) -> None:
        super().__init__(f"the task instance is {state or 'gone'} in Airflow")
        self.state = state


class UnexpectedAnswer(Exception):
    """Airflow refused something in a way that trying again cannot mend."""


class OutputsRefused(UnexpectedAnswer):
    """Airflow does not take these outputs as XCom, for example because a step cannot be expanded over so many items."""


@dataclass(frozen=True, kw_only=True)
class Output:
    """A JSON value for an XCom; ``mapped_length`` is what a later task expands over."""

    key: str
    value: Any
    mapped_length: int | None = None


@dataclass(frozen=True, kw_only=True)
class Report:
    """What a task instance came to, as Airflow is told.

    :param retry_delay_seconds: for ``up_for_retry``: exactly when it is tried again.
    :param retry_reason: for ``up_for_retry``: shows in the UI.
    :param wait_seconds: for ``awaiting_input``: how long people have; None is for ever. It then comes back to the
        executor's queue, as a task that goes on with ``execute_complete``.
    """

    state: State
    outputs: tuple[Output, ...] = ()
    retry_delay_seconds: float | None = None
    retry_reason: str | None = None
    wait_seconds: float | None = None
    at: datetime = field(default_factory=lambda: datetime.now(UTC))

    def payload(self) -> Payload:
        """Return the body that the Execution API would be sent: what is not said stays as it is in Airflow."""
        if self.state == "awaiting_input":
            timeout = {} if self.wait_seconds is None else {"timeout": self.wait_seconds}
            parked = {"state": self.state, "next_method": "execute_complete", **timeout}
            return TIAwaitingInputStatePayload.model_validate(parked)
        said: dict[str, Any] = {"state": self.state, "end_date": self.at}
        if self.state == "success":
            return TISuccessStatePayload.model_validate({**said, "task_outlets": [], "outlet_events": []})
        if self.state == "up_for_retry":
            said["retry_delay_seconds"] = self.retry_delay_seconds
            said["retry_reason"] = (self.retry_reason or "")[:_REASON_LENGTH]
            return TIRetryStatePayload.model_validate(said)
        return TITerminalStatePayload.model_validate(said)


def start(session: Session, task_instance_id: str, identity: Identity) -> dict[str, Any]:
    """Set the task instance running; return what its attempt needs: ``dag_run``, ``max_tries``, ``next_method``.

    Idempotent for one identity.

    :raises Superseded: if it is not queued any more and not running under this identity.
    :raises UnexpectedAnswer: Airflow refused it.
    """
    ti_id = UUID(task_instance_id)
    payload = TIEnterRunningPayload.model_validate(
        {"state": "running", **identity.model_dump(), "start_date": datetime.now(UTC)}
    )
    # A token names who calls; here nobody but us does, and no other token comes of it.
    token = TIToken(id=ti_id, claims=TIClaims(scope="execution"))
    try:
        context = ti_run(ti_id, payload, Response(), session, _dag_bag(), services=None, token=token)
    except HTTPException as refused:
        raise _meaning(refused) from refused
    return context.model_dump(mode="json", include={"dag_run": _RUN_FIELDS, "max_tries": True, "next_method": True})


def report(session: Session, key: AttemptKey, said: Report) -> None:
    """Set the task instance to what it came to, and store its outputs; to be called in a `group_commit` transaction.

    The state first: of a task instance that is not ours any more nothing is stored.

    :raises Superseded: if it is not running any more.
    :raises OutputsRefused: Airflow does not take the outputs.
    :raises UnexpectedAnswer: Airflow refused it.
    """
    try:
        ti_update_state(UUID(key.task_instance_id), said.payload(), session, _dag_bag())
    except HTTPException as refused:
        raise _meaning(refused) from refused
    for output in said.outputs:
        _store(session, key, output)


def _store(session: Session, key: AttemptKey, output: Output) -> None:
    try:
        set_xcom(
            key.sop, key.run_id, key.step, output.key, session, output.value,
            map_index=key.map_index, dag_result=False, mapped_length=output.mapped_length,
        )  # fmt: skip
        session.flush()
    except HTTPException as refused:
        raise OutputsRefused(f"HTTP {refused.status_code} {refused.detail}") from refused
    except OperationalError:
        raise
    except (DataError, StatementError) as refused:
        # A text that the database cannot keep, such as one with the character NUL on PostgreSQL.
        raise OutputsRefused(f"the database refused the value: {refused.orig}") from refused


def _dag_bag() -> DBDagBag:
    """Return what the routes look DAGs up in: only for a DAG with ``fail_fast``, so a fresh one each time will do."""
    return DBDagBag(load_op_links=False)


def _meaning(refused: HTTPException) -> Superseded | UnexpectedAnswer:
    if refused.status_code in _NOT_OURS:
        detail: Any = refused.detail
        return Superseded(detail.get("previous_state") if isinstance(detail, dict) else None)
    return UnexpectedAnswer(f"HTTP {refused.status_code} {refused.detail}")
