"""The fleet's gateway in the API server: the engine's tokens, tables and servers put together with it.

Servers come from ``fleet.yaml`` and from Airflow's connections of type ``mcp``. Where both have a name, the file wins:
it is reviewed and deployed like code, and who may edit connections must not be able to lead an SOP's data elsewhere.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

from airflow.models.connection import Connection
from airflow.utils.session import create_session
from sqlalchemy import select, tuple_

from airflow_sop_provider.airflow_settings import read_settings
from airflow_sop_provider.api.runner_auth import RunnerIdentity, RunnerRefusedError, identify
from airflow_sop_provider.engine.expected_outputs import expected_outputs
from airflow_sop_provider.fleet.breakers import Breakers
from airflow_sop_provider.fleet.calls import Calls
from airflow_sop_provider.fleet.gateway import FleetGateway
from airflow_sop_provider.fleet.rates import Rates
from airflow_sop_provider.fleet.registry import FleetError, FleetRegistry, HttpServer, StdioServer, load_fleet
from airflow_sop_provider.fleet.sessions import Sessions
from airflow_sop_provider.hooks.mcp import McpHook, server_of_connection
from airflow_sop_provider.sop import check_text
from airflow_sop_provider.store.execution_tables import DocumentRow, ExecutionRow
from airflow_sop_provider.store.fleet_memory import FleetMemory

__all__ = ["AirflowServers", "build_gateway", "running"]

_LOG = logging.getLogger(__name__)
_LOOK_SECONDS = 5.0
_SESSIONS = partial(create_session, scoped=False)
_CALLING_KINDS = frozenset({"step", "rollback", "agent_centric"})


class AirflowServers:
    """The servers of a fleet.yaml, read again when it changes, and those of connections.

    :param path: the file; it need not exist.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._read: tuple[float, FleetRegistry] | None = None

    async def server(self, name: str) -> HttpServer | StdioServer:
        """Return a server.

        :raises FleetError: there is none of that name, or what describes it is wrong.
        """
        declared = self._declared()
        if name in declared.servers:
            return declared.server(name)
        found = await asyncio.to_thread(_connection, name)
        return found if found is not None else declared.server(name)

    async def names(self) -> list[str]:
        """Return the names of all servers; connections of secrets backends cannot be listed."""
        return sorted({*self._declared().servers, *await asyncio.to_thread(_connection_names)})

    def _declared(self) -> FleetRegistry:
        try:
            changed = self._path.stat().st_mtime
        except OSError:
            return FleetRegistry(servers={})
        if self._read is None or self._read[0] != changed:
            self._read = (changed, load_fleet(self._path))
        return self._read[1]


def build_gateway() -> FleetGateway:
    """Return the gateway of this process."""
    memory = FleetMemory(_SESSIONS)
    calls = Calls(
        servers=AirflowServers(read_settings().fleet_file),
        sessions=Sessions(),
        breakers=Breakers(memory),
        audit=memory,
        rates=Rates(),
        journal=memory,
        snapshots=memory,
        expected=_expected,
    )
    return FleetGateway(_verify, calls)


@contextlib.asynccontextmanager
async def running(gateway: FleetGateway) -> AsyncIterator[None]:
    """Serve until the block ends; sessions are closed when their execution is over, whichever process noticed."""
    async with gateway.run():
        closing = asyncio.create_task(_close_ended(gateway), name="sop-fleet-close")
        try:
            yield
        finally:
            closing.cancel()


async def _verify(token: str) -> RunnerIdentity | None:
    try:
        return await identify(token)
    except RunnerRefusedError:
        return None


async def _expected(caller: RunnerIdentity, server: str, tool: str) -> dict[str, Any] | None:
    """Return what the caller's SOP says of the tool's result, by the document that its execution began with."""
    if caller.digest is None or caller.kind not in _CALLING_KINDS:
        return None
    step = None if caller.kind == "agent_centric" else caller.step
    expected = await asyncio.to_thread(_expected_of, caller.digest, step)
    return expected.get((server, tool))


@lru_cache(maxsize=4096)  # a document never changes
def _expected_of(digest: str, step: str | None) -> dict[tuple[str, str], dict[str, Any]]:
    with _SESSIONS() as session:
        row = session.get(DocumentRow, digest)
        text = None if row is None else row.text
    loaded = None if text is None else check_text(text).loaded
    return {} if loaded is None else expected_outputs(loaded.sop, step)


async def _close_ended(gateway: FleetGateway) -> None:
    sessions = gateway.calls.sessions
    while True:
        await asyncio.sleep(_LOOK_SECONDS)
        try:
            for sop, run_id in await asyncio.to_thread(_ended, sessions.executions()):
                await sessions.end_execution(sop, run_id)
        except Exception:
            _LOG.exception("Sessions of executions that are over could not be closed, trying again")


def _ended(executions: list[tuple[str, str]]) -> list[tuple[str, str]]:
    if not executions:
        return []
    key = tuple_(ExecutionRow.sop, ExecutionRow.run_id)
    query = select(ExecutionRow.sop, ExecutionRow.run_id).where(
        key.in_(executions), ExecutionRow.ended_at.is_not(None)
    )  # fmt: skip
    with _SESSIONS() as session:
        return [(sop, run_id) for sop, run_id in session.execute(query)]


def _connection(name: str) -> HttpServer | None:
    from airflow.sdk.exceptions import AirflowNotFoundException

    try:
        connection = Connection.get_connection_from_secrets(name)
    except AirflowNotFoundException:
        return None
    if connection.conn_type != McpHook.conn_type:
        raise FleetError(f"The connection `{name}` is of type `{connection.conn_type}`, not `{McpHook.conn_type}`.")
    return server_of_connection(connection)


def _connection_names() -> list[str]:
    with _SESSIONS() as session:
        query = select(Connection.conn_id).where(Connection.conn_type == McpHook.conn_type)
        return list(session.scalars(query))
