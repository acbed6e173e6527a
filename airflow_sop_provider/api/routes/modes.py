"""A control's mode: read, and changed in its document if its steps allow it.

The document stays the one place that says the mode. Executions that have started keep theirs: Airflow pins the version
of the DAG that they began with, and the new one is for those that follow.
"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Literal, cast

from airflow.api_fastapi.common.db.common import SessionDep
from airflow.api_fastapi.core_api.security import GetUserDep, requires_access_dag
from airflow.models.dag import DagModel
from fastapi import APIRouter, Depends, HTTPException, status
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import select
from sqlalchemy.orm import Session

from airflow_sop_provider.sop import LoadedSop, SopError, check_text, load_sop, set_mode
from airflow_sop_provider.sop.models import Mode
from airflow_sop_provider.sop.replace_file import replace_file
from airflow_sop_provider.store.mode_changes import ModeChange, mode_changes_of, record_mode_change

__all__ = ["router"]

router = APIRouter(tags=["modes"])

_CanRead = Depends(requires_access_dag(method="GET"))
_CanEdit = Depends(requires_access_dag(method="PUT"))


class ModeRequest(BaseModel):
    """The mode a control is to run in from now on."""

    model_config = ConfigDict(extra="forbid")

    mode: Literal["auto", "system_design", "agent_centric"]
    reason: str | None = Field(default=None, max_length=1000)


class Change(BaseModel):
    """One change of the mode."""

    model_config = ConfigDict(from_attributes=True)

    old_mode: str
    new_mode: str
    old_digest: str | None
    new_digest: str | None
    changed_by: str
    reason: str | None
    changed_at: datetime


class ModeBody(BaseModel):
    """The mode of a control.

    :param mode: as its document says; ``runs_as`` what follows from it, and ``reason`` why.
    :param incompatibilities: what keeps it from running agent-centric.
    """

    mode: str
    runs_as: str
    reason: str
    incompatibilities: list[str]
    changes: list[Change]


@router.get("/sops/{dag_id}/mode", dependencies=[_CanRead])
def get_mode(dag_id: str, session: SessionDep) -> ModeBody:
    """Return the mode of an SOP, why it is that, and how it was changed."""
    return _body(session, _loaded(_file(session, dag_id), dag_id))


@router.put("/sops/{dag_id}/mode", dependencies=[_CanEdit])
def put_mode(dag_id: str, body: ModeRequest, session: SessionDep, user: GetUserDep) -> ModeBody:
    """Change the mode for the executions that follow; refused, with each reason, if the steps do not allow it."""
    file = _file(session, dag_id)
    before = _loaded(file, dag_id)
    if before.sop.mode == body.mode:
        return _body(session, before)
    text = _changed(before, body.mode, dag_id)
    after = check_text(text, str(file)).unwrap()
    record_mode_change(
        session,
        ModeChange(
            sop=dag_id,
            control=before.sop.control,
            old_mode=before.sop.mode,
            new_mode=body.mode,
            old_digest=before.sha256,
            new_digest=after.sha256,
            changed_by=user.get_name(),
            reason=body.reason,
        ),
    )
    try:
        replace_file(file, text)  # last: if it fails, nothing was recorded either
    except OSError as error:
        raise HTTPException(
            status.HTTP_409_CONFLICT,
            f"The document cannot be written here ({error.strerror}); change it where it is kept: `sop set-mode`.",
        ) from error
    return _body(session, after)


def _file(session: Session, dag_id: str) -> Path:
    location = session.scalar(select(DagModel.fileloc).where(DagModel.dag_id == dag_id, ~DagModel.is_stale))
    if location is None:
        raise HTTPException(status.HTTP_404_NOT_FOUND, f"There is no SOP {dag_id}.")
    return Path(location)


def _loaded(file: Path, dag_id: str) -> LoadedSop:
    try:
        loaded = load_sop(file)
    except SopError as error:
        raise HTTPException(
            status.HTTP_409_CONFLICT, f"The document of {dag_id} cannot be read here as a valid SOP: {error}"
        ) from error
    if loaded.sop.sop != dag_id:
        raise HTTPException(status.HTTP_409_CONFLICT, f"The document of {dag_id} is another SOP's by now.")
    return loaded


def _changed(before: LoadedSop, mode: str, dag_id: str) -> str:
    try:
        return set_mode(before.text, cast("Mode", mode), f"{dag_id}.yaml")
    except SopError as error:
        raise HTTPException(status.HTTP_422_UNPROCESSABLE_CONTENT, str(error)) from error


def _body(session: Session, loaded: LoadedSop) -> ModeBody:
    return ModeBody(
        mode=loaded.sop.mode,
        runs_as=loaded.mode.mode,
        reason=loaded.mode.reason,
        incompatibilities=[found.reason for found in loaded.mode.incompatibilities],
        changes=[Change.model_validate(row) for row in mode_changes_of(session, loaded.sop.sop)],
    )
