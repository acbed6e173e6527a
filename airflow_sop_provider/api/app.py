"""The engine's app: what Airflow's API server mounts at /sop."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from airflow.api_fastapi.app import get_auth_manager
from airflow.api_fastapi.common.dagbag import create_dag_bag
from fastapi import FastAPI
from pydantic import BaseModel

from airflow_sop_provider import __version__
from airflow_sop_provider.airflow_settings import api_limits
from airflow_sop_provider.api.away import answer_while_away
from airflow_sop_provider.api.background import Background
from airflow_sop_provider.api.fleet import build_gateway, running
from airflow_sop_provider.api.limits import Limits
from airflow_sop_provider.api.routes import (
    alerts,
    approvals,
    attempts_page,
    audit,
    escalations,
    executions,
    fleet,
    metrics,
    modes,
    runner,
    workers,
)

__all__ = ["PREFIX", "create_app"]

PREFIX = "/api/v1"
_GATEWAY = "/fleet"


class Refusal(BaseModel):
    """Why nothing was done; of 422 by the form of a request, a list of what is wrong where."""

    detail: str | list[Any] | dict[str, Any]


_REFUSALS: dict[int | str, dict[str, Any]] = {
    code: {"description": text, "content": {"application/json": {"schema": Refusal.model_json_schema()}}}
    for code, text in {
        400: "It cannot be read",
        401: "Nobody is signed in",
        403: "Who is signed in may not",
        404: "There is no such thing",
        409: "It is too late, or something else is in the way",
        411: "The size of the body is not told",
        413: "The body is too large",
        422: "It does not fit",
        429: "Too many requests; `Retry-After` says when to come again",
        502: "A server behind this one cannot be asked",
        503: "The database or a server behind this one cannot be reached; come again",
    }.items()
}


def create_app() -> FastAPI:
    """Return the app; its lifespan, which Airflow's server runs, does the engine's own work meanwhile."""
    app = FastAPI(
        title="SOP execution engine",
        version=__version__,
        description="Submit, follow, cancel and audit executions of SOPs. Who may do what is decided by Airflow.",
        lifespan=_lifespan,
        responses=_REFUSALS,
    )
    app.add_middleware(Limits, limits=api_limits, runner_prefix=f"{PREFIX}/runner/", own=(f"{_GATEWAY}/",))
    for module in (
        executions,
        attempts_page,
        fleet,
        runner,
        audit,
        escalations,
        alerts,
        approvals,
        metrics,
        modes,
        workers,
    ):
        app.include_router(module.router, prefix=PREFIX)
    answer_while_away(app)
    app.state.fleet = build_gateway()
    app.mount(_GATEWAY, app.state.fleet.app)
    return app


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    # Airflow's dependencies look for these in the app that the route belongs to, which is this one.
    app.state.auth_manager = get_auth_manager()
    app.state.dag_bag = create_dag_bag()
    background = Background()
    background.start()
    try:
        async with running(app.state.fleet):
            yield
    finally:
        await background.stop()
