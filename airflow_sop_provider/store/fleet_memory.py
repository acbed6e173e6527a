"""What the fleet's gateway needs of the database: journal, snapshots, breakers and the record of each query.

The gateway lives in an event loop and these are transactions, so each runs in a thread. Every one is its own
transaction that is committed when the call returns: that is what the gateway relies on.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from typing import Any, TypeVar

from sqlalchemy import Row, delete, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from airflow_sop_provider.audit.entries import AuditFields
from airflow_sop_provider.fleet.breaker import BreakerState
from airflow_sop_provider.fleet.ports import Caller, DataAccess, JournalEntry
from airflow_sop_provider.store.audit_append import append
from airflow_sop_provider.store.base import insert_if_absent, utc_now
from airflow_sop_provider.store.fleet_tables import BreakerRow, ToolCallRow, ToolSnapshotRow

__all__ = ["FLEET", "BreakerBusyError", "FleetMemory", "keep_snapshot"]

FLEET = "fleet"
"""Component of what the gateway notes."""

_TRIES = 50

T = TypeVar("T")


class BreakerBusyError(RuntimeError):
    """Others changed the breaker whenever we tried; trying again helps."""


class FleetMemory:
    """Journal, snapshot store, breaker store and audit sink of a gateway (`fleet.ports`).

    :param sessions: makes sessions that are committed at the end of their block.
    """

    def __init__(self, sessions: Callable[[], AbstractContextManager[Session]]) -> None:
        self._sessions = sessions

    async def record(self, access: DataAccess) -> None:
        """Append a query and its outcome to the audit log of its execution."""
        chain = f"{access.caller.sop}/{access.caller.run_id}"
        await self._run(lambda session: append(session, chain, [_entry(access)]))

    async def begin(self, key: str, caller: Caller, server: str, tool: str) -> JournalEntry:
        """Note that a call is about to be made, unless it is known."""
        return await self._run(lambda session: _begin(session, key, caller, server, tool))

    async def finish(self, key: str, result: dict[str, Any]) -> None:
        """Note what came of a call."""
        values = {"state": "done", "result": json.dumps(result), "ended_at": utc_now()}
        await self._run(lambda session: session.execute(_of(key).values(values)))

    async def forget(self, key: str) -> None:
        """Note that a call was not carried out."""
        await self._run(lambda session: session.execute(delete(ToolCallRow).where(ToolCallRow.key == key)))

    async def digest_of(self, sop: str, server: str, tool: str) -> str | None:
        """Return the digest of the definition that the SOP was validated against."""
        return await self._run(lambda session: _snapshot_digest(session, sop, server, tool))

    async def keep(self, sop: str, server: str, tool: str, digest: str, definition: dict[str, Any]) -> None:
        """Keep the definition of a tool that has none: what is seen first is what later ones are held against."""
        try:
            await self._run(lambda session: keep_snapshot(session, sop, server, tool, digest, definition, None))
        except IntegrityError:
            return  # another gateway saw it at the same moment

    async def update(self, server: str, change: Callable[[BreakerState], BreakerState]) -> BreakerState:
        """Change the state of a server's breaker; of those who do so at once each sees what the one before it left.

        :raises BreakerBusyError: others changed it whenever we tried.
        """
        return await self._run(lambda session: _change(session, server, change))

    async def _run(self, work: Callable[[Session], T]) -> T:
        def transaction() -> T:
            with self._sessions() as session:
                return work(session)

        return await asyncio.to_thread(transaction)


def keep_snapshot(
    session: Session,
    sop: str,
    server: str,
    tool: str,
    digest: str,
    definition: dict[str, Any],
    validated_by: str | None,
) -> None:
    """Store a tool's definition as the one the SOP is validated against, in place of an earlier one.

    :param validated_by: user who looked at it; None: nobody, it is what was seen first.
    """
    row = session.get(ToolSnapshotRow, (sop, server, tool))
    if row is None:
        row = ToolSnapshotRow(sop=sop, server=server, tool=tool)
        session.add(row)
    row.digest, row.definition, row.validated_by, row.validated_at = digest, definition, validated_by, utc_now()
    session.flush()


def _of(key: str) -> Any:
    return update(ToolCallRow).where(ToolCallRow.key == key)


def _begin(session: Session, key: str, caller: Caller, server: str, tool: str) -> JournalEntry:
    values = {
        "key": key, "sop": caller.sop, "run_id": caller.run_id, "step": caller.step, "map_index": caller.map_index,
        "server": server, "tool": tool, "state": "begun",
    }  # fmt: skip
    if insert_if_absent(session, ToolCallRow, values):
        return JournalEntry("new")
    row = session.get_one(ToolCallRow, key)
    return JournalEntry("done", json.loads(row.result)) if row.state == "done" and row.result else JournalEntry("begun")


def _snapshot_digest(session: Session, sop: str, server: str, tool: str) -> str | None:
    row = session.get(ToolSnapshotRow, (sop, server, tool))
    return None if row is None else row.digest


def _change(session: Session, server: str, change: Callable[[BreakerState], BreakerState]) -> BreakerState:
    """Apply a change to what is stored, on PostgreSQL under the row's lock.

    SQLite has no such lock, and its driver begins a transaction at the first write only: so the row is written if it
    still is what the change was applied to, and read again otherwise.
    """
    query = select(BreakerRow.window, BreakerRow.opened_at, BreakerRow.probe_by).where(BreakerRow.server == server)
    for _ in range(_TRIES):
        found = session.execute(query.with_for_update()).one_or_none()
        before = BreakerState() if found is None else _state(*found)
        after = change(before)
        if found is None:
            if insert_if_absent(session, BreakerRow, {"server": server, **_columns(after)}):
                return after
        elif after == before or _replaced(session, server, found, after):
            return after
    raise BreakerBusyError(f"the circuit breaker of {server} is changed by others all the time")


def _replaced(session: Session, server: str, found: Row[str, datetime | None, str | None], after: BreakerState) -> bool:
    """Store a state in place of the one that was read; return False if somebody stored another meanwhile."""
    as_read = (
        BreakerRow.window == found.window,
        BreakerRow.opened_at.is_not_distinct_from(found.opened_at),
        BreakerRow.probe_by.is_not_distinct_from(found.probe_by),
    )
    statement = update(BreakerRow).where(BreakerRow.server == server, *as_read).values(_columns(after))
    done = session.execute(statement.execution_options(synchronize_session=False))
    return bool(done.rowcount == 1)  # type: ignore[attr-defined]  # of a cursor's result, which an UPDATE has


def _columns(state: BreakerState) -> dict[str, Any]:
    opened = None if state.opened_at is None else datetime.fromtimestamp(state.opened_at, UTC)
    return {"state": state.name, "window": state.window, "opened_at": opened, "probe_by": state.probe_by}


def _state(window: str, opened_at: datetime | None, probe_by: str | None) -> BreakerState:
    opened = None if opened_at is None else opened_at.timestamp()
    return BreakerState(window=window, opened_at=opened, probe_by=probe_by)


def _entry(access: DataAccess) -> AuditFields:
    what = f"{access.server}.{access.tool}" if access.tool else access.server
    metadata: dict[str, Any] = {
        "server": access.server, "tool": access.tool, "arguments_digest": access.arguments_digest, "ok": access.ok,
        "code": access.code, "result_digest": access.result_digest, "bytes": access.bytes,
        "duration_seconds": round(access.duration_seconds, 4), "retries": access.retries, "replayed": access.replayed,
        "arguments": access.arguments, "result": access.result,
    }  # fmt: skip
    return AuditFields(
        kind="data.access",
        component=FLEET,
        message=f"{what} answered" if access.ok else f"{what} failed: {access.code}",
        level="info" if access.ok else "warning",
        step=access.caller.step,
        map_index=access.caller.map_index,
        attempt=access.caller.attempt,
        metadata={name: value for name, value in metadata.items() if value is not None},
    )
