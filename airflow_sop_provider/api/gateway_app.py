"""The fleet's gateway as a service of its own, without the rest of the engine: `sop fleet serve`.

Every call of every step goes through the gateway. Where that is much, it must neither take the API server's CPU nor
end with its restarts, and its network rules (out to the MCP servers, which nothing else may reach) are better kept
apart. It shares tokens, tables, breakers and journal with all other gateways through the database, so any number may
serve.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

from airflow.utils.session import create_session
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route

from airflow_sop_provider.api.fleet import build_gateway, running

__all__ = ["HEALTH", "MOUNT", "create_gateway_app", "serve"]

MOUNT = "/fleet"
"""Where the servers' endpoints are; `[sop] fleet_url` ends with it."""

HEALTH = "/health"


def create_gateway_app() -> Starlette:
    """Return the app: the gateway below `MOUNT`, and `HEALTH` for probes, which tells nobody anything else."""
    gateway = build_gateway()

    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        async with running(gateway):
            yield

    routes = [Route(HEALTH, _health), Mount(MOUNT, app=gateway.app)]
    app = Starlette(routes=routes, lifespan=lifespan)
    app.state.fleet = gateway
    return app


def serve(host: str, port: int, workers: int) -> None:
    """Serve until the process is told to end; calls under way are finished first."""
    import uvicorn

    uvicorn.run(
        f"{__name__}:create_gateway_app", factory=True, host=host, port=port, workers=workers,
        log_config=None, access_log=False, server_header=False,  # Airflow's logging is configured by now
    )  # fmt: skip


async def _health(_: Request) -> Response:
    """Without its database the gateway knows no token and records no call, so it is not ready."""
    try:
        await asyncio.to_thread(_ask)
    except SQLAlchemyError:
        return JSONResponse({"status": "the metadata database does not answer"}, status_code=503)
    return JSONResponse({"status": "ok"})


def _ask() -> None:
    with create_session(scoped=False) as session:
        session.execute(text("SELECT 1"))
