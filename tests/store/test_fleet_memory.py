"""The gateway's memory in a real database: journal, snapshots, breakers shared by gateways, and the audit log."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from functools import partial
from types import SimpleNamespace

import pytest
from sqlalchemy import select

from airflow_sop_provider.fleet.breaker import MINIMUM, BreakerState, recorded
from airflow_sop_provider.fleet.breakers import Breakers
from airflow_sop_provider.fleet.call_failures import CallFailedError
from airflow_sop_provider.fleet.ports import DataAccess
from airflow_sop_provider.store.audit_tables import AuditEntryRow
from airflow_sop_provider.store.fleet_memory import FleetMemory, keep_snapshot
from airflow_sop_provider.store.fleet_tables import BreakerRow, ToolSnapshotRow

CALLER = SimpleNamespace(sop="demo", run_id="r1", step="x", map_index=-1, attempt=2, data_sources={})


@pytest.fixture
def memory(sessions):
    return FleetMemory(sessions.begin)


async def test_a_call_is_new_once_then_begun_then_done(memory):
    assert (await memory.begin("k", CALLER, "s", "t")).state == "new"
    assert (await memory.begin("k", CALLER, "s", "t")).state == "begun"
    await memory.finish("k", {"n": 1})
    entry = await memory.begin("k", CALLER, "s", "t")
    assert (entry.state, entry.result) == ("done", {"n": 1})


async def test_a_call_that_was_not_carried_out_is_new_again(memory):
    await memory.begin("k", CALLER, "s", "t")
    await memory.forget("k")
    assert (await memory.begin("k", CALLER, "s", "t")).state == "new"


async def test_of_many_at_once_one_may_make_the_call(memory):
    entries = await asyncio.gather(*(memory.begin("k", CALLER, "s", "t") for _ in range(8)))
    assert sorted(entry.state for entry in entries) == ["begun"] * 7 + ["new"]


async def test_snapshots(memory, sessions):
    assert await memory.digest_of("demo", "s", "t") is None
    await memory.keep("demo", "s", "t", "a" * 64, {"name": "t"})
    assert await memory.digest_of("demo", "s", "t") == "a" * 64
    assert await memory.digest_of("other", "s", "t") is None
    with sessions.begin() as session:
        keep_snapshot(session, "demo", "s", "t", "b" * 64, {"name": "t", "title": "T"}, "ann")
    with sessions() as session:
        row = session.get_one(ToolSnapshotRow, ("demo", "s", "t"))
        assert (row.digest, row.validated_by) == ("b" * 64, "ann")


async def test_gateways_share_breakers(sessions):
    now = [1_700_000_000.0]
    one, two = (Breakers(FleetMemory(sessions.begin), clock=lambda: now[0]) for _ in range(2))
    for _ in range(MINIMUM):
        await one.admit("s")
        await one.record("s", failed=True)
    with pytest.raises(CallFailedError, match="left alone"):
        await two.admit("s")
    now[0] += 30
    probe = await two.admit("s")
    assert probe is not None
    with sessions() as session:
        assert session.get_one(BreakerRow, "s").state == "probing"
    await two.record("s", failed=False, probe=probe)
    now[0] += 2
    assert await one.admit("s") is None


@pytest.mark.parametrize("known", [True, False], ids=["known", "new"])
async def test_no_outcome_is_lost_when_gateways_report_at_once(memory, known):
    """Each change waits until others have read the same state, which is what loses one where nobody looks again."""
    both_have_read = threading.Barrier(2)

    def change(state: BreakerState, outcome: str) -> BreakerState:
        with contextlib.suppress(threading.BrokenBarrierError):  # a lock of the row keeps the other from reading
            both_have_read.wait(timeout=0.5)
        return recorded(state, outcome, 0.0)

    if known:
        await memory.update("s", lambda state: recorded(state, "0", 0.0))
    await asyncio.gather(*(memory.update("s", partial(change, outcome=one)) for one in "01"))
    state = await memory.update("s", lambda state: state)
    assert sorted(state.window) == sorted("001" if known else "01")


async def test_twenty_outcomes_at_once_are_twenty(memory):
    await asyncio.gather(*(memory.update("s", lambda state: recorded(state, "0", 0.0)) for _ in range(20)))
    assert await memory.update("s", lambda state: state) == BreakerState(window="0" * 20)


async def test_a_query_is_in_the_audit_log_by_digest(memory, sessions):
    access = DataAccess(
        caller=CALLER, server="s", tool="t", arguments_digest="a" * 64, ok=True, result_digest="b" * 64, bytes=7
    )
    await memory.record(access)
    with sessions() as session:
        (row,) = session.scalars(select(AuditEntryRow)).all()
    assert (row.kind, row.component, row.step, row.attempt) == ("data.access", "fleet", "x", 2)
