"""Asks and tells the breakers of all servers, without a database transaction for each request.

Successes of a closed breaker are collected for a second; a failure, and everything about an open one, goes to the
store at once. Between two looks a gateway trusts the state it knows, so another one's opening is seen a second late.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field

from airflow_sop_provider.contract.exit_codes import ErrorType, ExitCode
from airflow_sop_provider.fleet.breaker import BreakerState, admits, claimed, recorded
from airflow_sop_provider.fleet.call_failures import CallFailedError
from airflow_sop_provider.fleet.ports import BreakerStore

__all__ = ["Breakers", "MemoryBreakers"]

_FRESH_SECONDS = 1.0


class MemoryBreakers:
    """States of one gateway alone, which shares them with nobody."""

    def __init__(self) -> None:
        self._states: dict[str, BreakerState] = {}

    async def update(self, server: str, change: Callable[[BreakerState], BreakerState]) -> BreakerState:
        """Apply ``change``."""
        self._states[server] = change(self._states.get(server, BreakerState()))
        return self._states[server]


@dataclass
class _Known:
    state: BreakerState = field(default_factory=BreakerState)
    seen: float = float("-inf")
    pending: str = ""


class Breakers:
    """The breakers of all servers as one gateway sees them.

    :param clock: seconds since the epoch.
    """

    def __init__(self, store: BreakerStore, clock: Callable[[], float] = time.time) -> None:
        self._store = store
        self._clock = clock
        self._known: dict[str, _Known] = {}

    def states(self) -> dict[str, BreakerState]:
        """Return the states as known here, by server."""
        return {server: known.state for server, known in self._known.items()}

    async def admit(self, server: str) -> str | None:
        """Let a request pass; return the probe's name if it is one, to be told to `record`.

        :raises CallFailedError: ``mcp-circuit-open`` (transient): the server is left alone.
        """
        known = await self._refreshed(server)
        answer = admits(known.state, self._clock())
        if answer == "yes":
            return None
        if answer == "probe":
            who = uuid.uuid4().hex
            known.state = await self._store.update(server, lambda state: claimed(state, self._clock(), who))
            if known.state.probe_by == who:
                return who
            if known.state.opened_at is None:
                return None
        raise CallFailedError(
            ErrorType.TRANSIENT, ExitCode.TRANSIENT, "mcp-circuit-open",
            f"`{server}` failed more than half of its last requests and is left alone for a while.",
        )  # fmt: skip

    async def record(self, server: str, *, failed: bool, probe: str | None = None) -> None:
        """Note how a request ended."""
        known = self._known.setdefault(server, _Known())
        known.pending += "1" if failed else "0"
        if failed or probe is not None:
            await self._flush(server, known, probe)

    async def _refreshed(self, server: str) -> _Known:
        known = self._known.setdefault(server, _Known())
        if self._clock() - known.seen >= _FRESH_SECONDS:
            await self._flush(server, known, None)
        return known

    async def _flush(self, server: str, known: _Known, probe: str | None) -> None:
        outcomes, known.pending = known.pending, ""
        known.state = await self._store.update(server, lambda state: recorded(state, outcomes, self._clock(), probe))
        known.seen = self._clock()
