"""Escalations: who was told of what, and whom we could not reach."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from airflow.api_fastapi.app import get_auth_manager
from airflow.api_fastapi.common.db.common import SessionDep
from fastapi import APIRouter, Query
from pydantic import BaseModel

from airflow_sop_provider.api.access import GetUserDep, ReadableSops
from airflow_sop_provider.store.deliveries import deliveries_of

__all__ = ["router"]

router = APIRouter(tags=["escalations"])

DeliveryState = Literal["pending", "delivered", "dead"]


class Escalation(BaseModel):
    """A fact on its way to one channel.

    :ivar channel: the notifier and a digest of its arguments, which are not shown.
    """

    id: int
    sop: str | None
    run_id: str | None
    kind: str
    message: str | None
    channel: str
    state: DeliveryState
    tries: int
    last_error: str | None
    created_at: datetime
    next_at: datetime
    delivered_at: datetime | None


@router.get("/escalations")
def list_escalations(
    session: SessionDep,
    readable: ReadableSops,
    user: GetUserDep,
    state: DeliveryState | None = None,
    limit: Annotated[int, Query(ge=1, le=500)] = 100,
) -> list[Escalation]:
    """List escalations about executions that the caller may see, the newest first; ``state=dead``: those given up.

    Those about no execution, as of a broken chain of the engine's own, are for who may change Airflow's configuration.
    """
    admin = get_auth_manager().is_authorized_configuration(method="PUT", user=user)
    return [
        Escalation(
            id=delivery.id,
            sop=None if execution is None else execution.sop,
            run_id=None if execution is None else execution.run_id,
            kind=fact.kind,
            message=fact.payload.get("message"),
            channel=delivery.channel,
            state=delivery.state,
            tries=delivery.tries,
            last_error=delivery.last_error,
            created_at=fact.created_at,
            next_at=delivery.next_at,
            delivered_at=delivery.delivered_at,
        )
        for delivery, fact, execution in deliveries_of(session, readable, state=state, engine=admin, limit=limit)
    ]
