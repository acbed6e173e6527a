"""The fleet for people: its servers and their breakers, and re-validation of an SOP's tools."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any

from airflow.api_fastapi.core_api.security import requires_access_dag
from airflow.utils.session import create_session
from fastapi import APIRouter, Depends, HTTPException, Request, status
from pydantic import BaseModel

from airflow_sop_provider.api.access import CanSubmit, GetUserDep
from airflow_sop_provider.fleet.breaker import BreakerState
from airflow_sop_provider.fleet.call_failures import CallFailedError
from airflow_sop_provider.fleet.calls import Calls
from airflow_sop_provider.fleet.registry import FleetError
from airflow_sop_provider.fleet.snapshots import definition_of, digest_of
from airflow_sop_provider.store.fleet_memory import FleetMemory, keep_snapshot

__all__ = ["router"]

router = APIRouter(prefix="/fleet", tags=["fleet"])
_SESSIONS = partial(create_session, scoped=False)


class ServerState(BaseModel):
    """A server and how it does.

    :param failure_ratio: share of failures among its last requests, at most 100.
    """

    name: str
    breaker: str
    failure_ratio: float
    requests: int


class Tools(BaseModel):
    """Which tools an SOP uses: server -> names."""

    servers: dict[str, list[str]]


@router.get("/servers", dependencies=[Depends(requires_access_dag(method="GET"))])
async def servers(request: Request) -> list[ServerState]:
    """List the servers with the state of their circuit breakers, as all gateways share it."""
    names = await _calls(request).servers.names()
    memory = FleetMemory(_SESSIONS)
    states = [await memory.update(name, lambda state: state) for name in names]
    return [_state(name, state) for name, state in zip(names, states, strict=True)]


@router.put("/snapshots/{dag_id}", dependencies=[CanSubmit])
async def snapshot(dag_id: str, tools: Tools, request: Request, user: GetUserDep) -> dict[str, dict[str, str]]:
    """Validate an SOP's tools as they are now: from here on a call of one that changed is refused.

    :raises HTTPException: 404 no such tool; 502 a server cannot be asked.
    """
    calls = _calls(request)
    digests: dict[str, dict[str, str]] = {}
    known = set(await calls.servers.names())
    if unknown := sorted(set(tools.servers) - known):
        raise HTTPException(status.HTTP_404_NOT_FOUND, f"The fleet has no server {', '.join(unknown)}")
    for server, names in tools.servers.items():
        found = await _definitions(calls, dag_id, server)
        if missing := [name for name in names if name not in found]:
            raise HTTPException(status.HTTP_404_NOT_FOUND, f"`{server}` has no tool {', '.join(missing)}")
        kept = {name: found[name] for name in names}
        await asyncio.to_thread(_keep, dag_id, server, kept, user.get_name())
        digests[server] = {name: digest_of(definition) for name, definition in kept.items()}
    return digests


def _calls(request: Request) -> Calls:
    calls: Calls = request.app.state.fleet.calls
    return calls


async def _definitions(calls: Calls, sop: str, server: str) -> dict[str, dict[str, Any]]:
    execution = (sop, "~validation")
    try:
        session = await calls.sessions.get(execution, server, await calls.servers.server(server))
        return {name: definition_of(tool) for name, tool in (await session.tools()).items()}
    except (FleetError, CallFailedError) as error:
        raise HTTPException(status.HTTP_502_BAD_GATEWAY, str(error)) from error
    finally:
        await calls.sessions.end_execution(*execution)


def _keep(sop: str, server: str, definitions: dict[str, dict[str, Any]], user: str) -> None:
    with _SESSIONS() as session:
        for name, definition in definitions.items():
            keep_snapshot(session, sop, server, name, digest_of(definition), definition, user)


def _state(name: str, state: BreakerState) -> ServerState:
    ratio = round(state.failure_ratio, 4)
    return ServerState(name=name, breaker=state.name, failure_ratio=ratio, requests=len(state.window))
