"""The engine's app: what Airflow's API server mounts at /sop."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from airflow.api_fastapi.app import get_auth_manager
from airflow.api_fastapi.common.dagbag import create_dag_bag
from fastapi import FastAPI

from airflow_sop_provider import __version__
from airflow_sop_provider.api.background import Background
from airflow_sop_provider.api.fleet import build_gateway, running
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
)

__all__ = ["PREFIX", "create_app"]

PREFIX = "/api/v1"


def create_app() -> FastAPI:
    """Return the app; its lifespan, which Airflow's server runs, does the engine's own work meanwhile."""
    app = FastAPI(
        title="SOP execution engine",
        version=__version__,
        description="Submit, follow, cancel and audit executions of SOPs. Who may do what is decided by Airflow.",
        lifespan=_lifespan,
    )
    for module in (executions, attempts_page, fleet, runner, audit, escalations, alerts, approvals, metrics, modes):
        app.include_router(module.router, prefix=PREFIX)
    app.state.fleet = build_gateway()
    app.mount("/fleet", app.state.fleet.app)
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
