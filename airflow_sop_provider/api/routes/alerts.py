"""Alerts: what takes too long, and who has seen it."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from airflow.api_fastapi.common.db.common import SessionDep
from fastapi import APIRouter, HTTPException, Query, status
from pydantic import BaseModel

from airflow_sop_provider.api.access import CanRun, GetUserDep, ReadableSops
from airflow_sop_provider.api.models import RowId
from airflow_sop_provider.store.alert_tables import AlertRow
from airflow_sop_provider.store.alerts import acknowledge, alerts_of
from airflow_sop_provider.store.base import utc_now
from airflow_sop_provider.store.execution_tables import ExecutionRow

__all__ = ["router"]

router = APIRouter(tags=["alerts"])


class Alert(BaseModel):
    """Something a rule found."""

    id: int
    sop: str
    run_id: str
    rule: str
    level: str
    message: str
    details: dict[str, Any]
    raised_at: datetime
    acknowledged_by: str | None
    acknowledged_at: datetime | None


@router.get("/alerts")
def list_alerts(
    session: SessionDep,
    readable: ReadableSops,
    acknowledged: bool | None = None,
    limit: Annotated[int, Query(ge=1, le=500)] = 100,
) -> list[Alert]:
    """List alerts about executions that the caller may see, the newest first."""
    return [_shown(*found) for found in alerts_of(session, readable, acknowledged=acknowledged, limit=limit)]


@router.post("/sops/{dag_id}/alerts/{alert_id}/acknowledge", dependencies=[CanRun])
def acknowledge_alert(dag_id: str, alert_id: RowId, session: SessionDep, user: GetUserDep) -> Alert:
    """Note that the caller has seen an alert; the first who does is kept."""
    alert = session.get(AlertRow, alert_id)
    execution = None if alert is None else session.get(ExecutionRow, alert.execution_id)
    if alert is None or execution is None or execution.sop != dag_id:
        raise HTTPException(status.HTTP_404_NOT_FOUND, f"There is no alert {alert_id} about {dag_id}.")
    acknowledge(session, alert, execution, user.get_name(), utc_now())
    return _shown(alert, execution)


def _shown(alert: AlertRow, execution: ExecutionRow) -> Alert:
    return Alert(
        id=alert.id,
        sop=execution.sop,
        run_id=execution.run_id,
        rule=alert.rule,
        level=alert.level,
        message=alert.message,
        details=alert.details,
        raised_at=alert.raised_at,
        acknowledged_by=alert.acknowledged_by,
        acknowledged_at=alert.acknowledged_at,
    )
