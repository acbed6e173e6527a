"""A gateway as in production, served by uvicorn, before real servers; only the engine's parts are stand-ins.

The engine's own (tokens, tables) are tested where they are, and together with the gateway in tests/store.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.routing import Mount

from airflow_sop_provider.fleet.breakers import Breakers, MemoryBreakers
from airflow_sop_provider.fleet.calls import Calls
from airflow_sop_provider.fleet.gateway import FleetGateway
from airflow_sop_provider.fleet.ports import DataAccess, JournalEntry
from airflow_sop_provider.fleet.rates import Rates
from airflow_sop_provider.fleet.registry import FleetRegistry
from airflow_sop_provider.fleet.sessions import Sessions


@dataclass(frozen=True)
class Attempt:
    sop: str = "demo"
    run_id: str = "manual__1"
    step: str = "x"
    map_index: int = -1
    attempt: int = 1
    data_sources: dict[str, Any] = field(default_factory=dict)


class Notes:
    """Audit log, journal and snapshots in a dictionary."""

    def __init__(self) -> None:
        self.accesses: list[DataAccess] = []
        self.calls: dict[str, JournalEntry] = {}
        self.tools: dict[tuple[str, str, str], str] = {}
        self.full = False

    async def record(self, access: DataAccess) -> None:
        if self.full:
            raise OSError("no space left on device")
        self.accesses.append(access)

    async def begin(self, key, caller, server, tool):
        return self.calls.setdefault(key, JournalEntry("begun")) if key in self.calls else self._new(key)

    def _new(self, key):
        self.calls[key] = JournalEntry("begun")
        return JournalEntry("new")

    async def finish(self, key, result):
        self.calls[key] = JournalEntry("done", result)

    async def forget(self, key):
        self.calls.pop(key, None)

    async def digest_of(self, sop, server, tool):
        return self.tools.get((sop, server, tool))

    async def keep(self, sop, server, tool, digest, definition):
        self.tools[sop, server, tool] = digest


class Fleet:
    """One gateway that can be called from threads of a test."""

    def __init__(self, servers: dict[str, Any], **rates: int) -> None:
        self.registry = FleetRegistry.model_validate({"servers": servers})
        self.notes = Notes()
        self.waits: list[float] = []
        self.now = 1_000_000.0
        self.attempts: dict[str, Attempt] = {}
        self.expected: dict[tuple[str, str], dict[str, Any]] = {}
        self.sessions = Sessions()
        self.breakers = Breakers(MemoryBreakers(), clock=lambda: self.now)
        self.calls = Calls(
            servers=self, sessions=self.sessions, breakers=self.breakers, audit=self.notes, rates=Rates(**rates),
            journal=self.notes, snapshots=self.notes, expected=self._expects, sleep=self._sleep,
        )  # fmt: skip
        self.gateway = FleetGateway(self._verify, self.calls)
        self.url = ""
        self.loop: asyncio.AbstractEventLoop | None = None

    async def server(self, name):
        return self.registry.server(name)

    async def names(self):
        return sorted(self.registry.servers)

    async def _verify(self, token):
        return self.attempts.get(token)

    async def _expects(self, caller, server, tool):
        return self.expected.get((server, tool))

    async def _sleep(self, seconds: float) -> None:
        self.waits.append(seconds)

    def token(self, *tools: str, server: str = "raw", **parts: Any) -> str:
        sources = {"data": {"server": server, "tools": list(tools)}}
        token = f"token-{len(self.attempts)}"
        self.attempts[token] = Attempt(data_sources=sources, **parts)
        return token

    def do(self, coroutine: Any) -> Any:
        assert self.loop is not None
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(60)


@contextmanager
def served(servers: dict[str, Any], **rates: int) -> Iterator[Fleet]:
    started = threading.Event()
    holder: dict[str, Any] = {}

    async def serve() -> None:
        fleet = Fleet(servers, **rates)
        app = Starlette(routes=[Mount("/sop/fleet", app=fleet.gateway.app)])
        config = uvicorn.Config(app, host="127.0.0.1", port=0, log_level="warning", lifespan="off")
        server = uvicorn.Server(config)
        fleet.loop = asyncio.get_running_loop()
        holder.update(fleet=fleet, server=server)
        async with fleet.gateway.run():
            task = asyncio.create_task(server.serve())
            while not server.started:  # noqa: ASYNC110 - uvicorn has no event for it
                await asyncio.sleep(0.005)
            fleet.url = f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}/sop"
            started.set()
            await task

    thread = threading.Thread(target=lambda: asyncio.run(serve()), daemon=True)
    thread.start()
    assert started.wait(30)
    try:
        yield holder["fleet"]
    finally:
        holder["server"].should_exit = True
        thread.join(30)
