"""What the gateway needs of the engine, as protocols: who calls, where records go, what is remembered.

The engine stands above the fleet and holds the database, so it is handed in. Every part is asynchronous, because behind
each is a database; what must be durable is durable when the call returns.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from airflow_sop_provider.fleet.breaker import BreakerState
from airflow_sop_provider.fleet.registry import HttpServer, StdioServer

__all__ = [
    "AuditSink",
    "BreakerStore",
    "Caller",
    "DataAccess",
    "ExpectedOutputs",
    "IdentityVerifier",
    "Journal",
    "JournalEntry",
    "ServerSource",
    "SnapshotStore",
]


class Caller(Protocol):
    """Who calls: one attempt of one step; ``data_sources`` is name -> {server, tools}, all that it may touch."""

    @property
    def sop(self) -> str:
        """SOP id."""

    @property
    def run_id(self) -> str:
        """Run id; (sop, run_id) is the execution."""

    @property
    def step(self) -> str:
        """Step id."""

    @property
    def map_index(self) -> int:
        """Index in a ``for_each``, -1 without one."""

    @property
    def attempt(self) -> int:
        """Number of the try, from 1."""

    @property
    def data_sources(self) -> Mapping[str, Any]:
        """What it may touch."""


class ExpectedOutputs(Protocol):
    """Tells what the SOP's `outputs` say of a tool's result."""

    async def __call__(self, caller: Any, server: str, tool: str) -> dict[str, Any] | None:
        """Return the JSON Schema that a result has to fit, None if the SOP expects nothing of it."""


class IdentityVerifier(Protocol):
    """Tells who holds a token."""

    async def __call__(self, token: str) -> Caller | None:
        """Return the caller, None for a token that is not valid (any more)."""


@dataclass(frozen=True, kw_only=True)
class DataAccess:
    """One query and its outcome, as the audit log keeps it.

    :param code: of the failure, None if it succeeded; ``replayed`` says that an earlier result was given again.
    :param arguments: only where the server's policy says ``record_content``; so is ``result``.
    """

    caller: Caller
    server: str
    tool: str
    arguments_digest: str
    ok: bool
    code: str | None = None
    result_digest: str | None = None
    bytes: int | None = None
    duration_seconds: float = 0.0
    retries: int = 0
    replayed: bool = False
    arguments: Any = None
    result: Any = None


class AuditSink(Protocol):
    """Writes records; no result leaves the gateway before its record is durable."""

    async def record(self, access: DataAccess) -> None:
        """Store a record; raises if it cannot."""


JournalState = Literal["new", "begun", "done"]


@dataclass(frozen=True)
class JournalEntry:
    """What is known of a call: ``new`` (it is ours to make), ``begun`` (nobody knows its outcome), ``done``."""

    state: JournalState
    result: dict[str, Any] | None = None


class Journal(Protocol):
    """Calls that may have an effect, by idempotency key."""

    async def begin(self, key: str, caller: Caller, server: str, tool: str) -> JournalEntry:
        """Note that the call is about to be made, unless it is known; durable when it returns."""

    async def finish(self, key: str, result: dict[str, Any]) -> None:
        """Note what came of it."""

    async def forget(self, key: str) -> None:
        """Note that it was certainly not carried out, so that it may be made again."""


class SnapshotStore(Protocol):
    """Definitions of tools as they were when their SOP was validated."""

    async def digest_of(self, sop: str, server: str, tool: str) -> str | None:
        """Return the digest of the definition that was seen last, None if none was."""

    async def keep(self, sop: str, server: str, tool: str, digest: str, definition: dict[str, Any]) -> None:
        """Keep a definition for a tool that has none."""


class BreakerStore(Protocol):
    """States of circuit breakers, shared by all gateways."""

    async def update(self, server: str, change: Callable[[BreakerState], BreakerState]) -> BreakerState:
        """Apply ``change`` to the stored state in one transaction and return the new one."""


class ServerSource(Protocol):
    """Where servers are looked up: fleet.yaml, and Airflow's connections where there are any."""

    async def server(self, name: str) -> HttpServer | StdioServer:
        """Return a server; raises `FleetError` if there is none of that name."""

    async def names(self) -> list[str]:
        """Return the names of all servers that can be listed."""
