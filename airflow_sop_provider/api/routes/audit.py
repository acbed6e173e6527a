"""The audit log over HTTP: entries, digests, the public key, exports, legal holds.

A user sees the entries of executions whose SOP they may see in Airflow. The engine's own chains and holds are for who
may change Airflow's configuration.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated
from urllib.parse import quote

from airflow.api_fastapi.app import get_auth_manager
from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity
from airflow.api_fastapi.common.db.common import SessionDep
from airflow.api_fastapi.core_api.security import GetUserDep, requires_access_configuration, requires_access_dag
from fastapi import APIRouter, Depends, HTTPException, Query, Response, status
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import select

from airflow_sop_provider.airflow_settings import read_settings
from airflow_sop_provider.api.audit_job import signing_key
from airflow_sop_provider.api.models import RowId
from airflow_sop_provider.audit.archive import build_archive
from airflow_sop_provider.audit.entries import SYSTEM_CHAIN, Entry
from airflow_sop_provider.store.audit_digests import make_digest
from airflow_sop_provider.store.audit_export import UnknownExecutionError, export_of
from airflow_sop_provider.store.audit_log import MAX_PAGE, AuditFilter, CursorError, query_entries
from airflow_sop_provider.store.audit_retention import RetentionError, place_hold, release_hold
from airflow_sop_provider.store.audit_tables import AuditDigestRow, LegalHoldRow

__all__ = ["router"]

router = APIRouter(tags=["audit"])

_Admin = Depends(requires_access_configuration(method="PUT"))
_CanRead = Depends(requires_access_dag(method="GET", access_entity=DagAccessEntity.RUN))
_Short = Annotated[str | None, Query(max_length=520)]


class EntriesPage(BaseModel):
    """Entries of the audit log.

    :param cursor: ask with it for those after these; None: there are none.
    """

    entries: list[Entry]
    cursor: str | None


class Digest(BaseModel):
    """A signed digest over all chains; ``body`` is what was signed."""

    model_config = ConfigDict(from_attributes=True)

    number: int
    created_at: datetime
    body: str
    hash: str
    signature: str
    key_id: str
    written_to: str | None


class Digests(BaseModel):
    """Signed digests."""

    digests: list[Digest]


class Hold(BaseModel):
    """A legal hold; what it does not name it does not limit."""

    model_config = ConfigDict(from_attributes=True)

    id: int
    sop: str | None
    run_id: str | None
    reason: str
    placed_by: str
    placed_at: datetime
    released_by: str | None
    released_at: datetime | None


class Holds(BaseModel):
    """Legal holds."""

    holds: list[Hold]


class HoldRequest(BaseModel):
    """A legal hold on one execution, on all of an SOP, or on everything."""

    model_config = ConfigDict(extra="forbid")

    reason: Annotated[str, Field(min_length=1, max_length=2000)]
    sop: Annotated[str | None, Field(max_length=250)] = None
    run_id: Annotated[str | None, Field(max_length=250)] = None


@router.get("/audit/entries")
def list_entries(
    session: SessionDep,
    user: GetUserDep,
    execution: _Short = None,
    sop: _Short = None,
    agent: _Short = None,
    since: datetime | None = None,
    until: datetime | None = None,
    execution_status: Annotated[str | None, Query(alias="status", max_length=30)] = None,
    level: Annotated[str | None, Query(max_length=10)] = None,
    kind: Annotated[str | None, Query(max_length=40)] = None,
    step: _Short = None,
    text: Annotated[str | None, Query(max_length=200)] = None,
    limit: Annotated[int, Query(ge=1, le=MAX_PAGE)] = 100,
    cursor: Annotated[str | None, Query(max_length=500)] = None,
) -> EntriesPage:
    """List entries that match all filters, the oldest first, page by page."""
    wanted = AuditFilter(
        execution=execution, sop=sop, agent=agent, since=since, until=until, status=execution_status, level=level,
        kind=kind, step=step, text=text,
    )  # fmt: skip
    system = execution is not None and execution.startswith(SYSTEM_CHAIN)
    if system and not get_auth_manager().is_authorized_configuration(method="PUT", user=user):
        raise HTTPException(
            status.HTTP_403_FORBIDDEN, "The engine's own chains are for who may change Airflow's configuration."
        )
    readable = None if system else sorted(get_auth_manager().get_authorized_dag_ids(user=user, method="GET"))
    try:
        page = query_entries(session, wanted, limit=limit, cursor=cursor, sops=readable)
    except CursorError as error:
        raise HTTPException(status.HTTP_400_BAD_REQUEST, str(error)) from error
    return EntriesPage(entries=list(page.entries), cursor=page.cursor)


@router.get("/audit/digests")
def list_digests(
    session: SessionDep,
    _user: GetUserDep,
    after: Annotated[int, Query(ge=0, le=2**53)] = 0,
    limit: Annotated[int, Query(ge=1, le=MAX_PAGE)] = 100,
) -> Digests:
    """List signed digests, the oldest first."""
    rows = session.scalars(
        select(AuditDigestRow).where(AuditDigestRow.number > after).order_by(AuditDigestRow.number).limit(limit)
    )
    return Digests(digests=[Digest.model_validate(row) for row in rows])


@router.get("/audit/public-key")
def public_key(_user: GetUserDep) -> dict[str, str]:
    """Return the key with which digests are verified."""
    key = signing_key(read_settings())
    return {"algorithm": "Ed25519", "id": key.id, "key": key.public.hex()}


@router.get("/sops/{dag_id}/executions/{run_id}/export", dependencies=[_CanRead], response_class=Response)
def export(session: SessionDep, dag_id: str, run_id: str) -> Response:
    """Return everything of an execution as one archive (zip) that can be verified elsewhere.

    Chains that have grown are signed first, so that the export is covered by a digest up to its end.
    """
    key = signing_key(read_settings())
    make_digest(session, key, datetime.now(UTC))
    try:
        data = build_archive(export_of(session, dag_id, run_id, key.public))
    except UnknownExecutionError as error:
        raise HTTPException(status.HTTP_404_NOT_FOUND, str(error)) from error
    headers = {"Content-Disposition": f"attachment; filename*=UTF-8''{quote(f'{dag_id}-{run_id}.zip', safe='')}"}
    return Response(data, media_type="application/zip", headers=headers)


@router.get("/audit/holds", dependencies=[_Admin])
def list_holds(session: SessionDep) -> Holds:
    """List legal holds, released ones included."""
    rows = session.scalars(select(LegalHoldRow).order_by(LegalHoldRow.id))
    return Holds(holds=[Hold.model_validate(row) for row in rows])


@router.post("/audit/holds", dependencies=[_Admin], status_code=status.HTTP_201_CREATED)
def add_hold(session: SessionDep, user: GetUserDep, body: HoldRequest) -> dict[str, int]:
    """Place a legal hold: nothing that it names is pruned until it is released."""
    try:
        return {"id": place_hold(session, by=user.get_name(), reason=body.reason, sop=body.sop, run_id=body.run_id)}
    except RetentionError as error:
        raise HTTPException(status.HTTP_422_UNPROCESSABLE_CONTENT, str(error)) from error


@router.delete("/audit/holds/{hold_id}", dependencies=[_Admin], status_code=status.HTTP_204_NO_CONTENT)
def end_hold(session: SessionDep, user: GetUserDep, hold_id: RowId) -> None:
    """Release a legal hold."""
    try:
        release_hold(session, hold_id, by=user.get_name(), now=datetime.now(UTC))
    except RetentionError as error:
        raise HTTPException(status.HTTP_404_NOT_FOUND, str(error)) from error
