"""The engine's pools: created once by whatever component starts first, then the operator's."""

from __future__ import annotations

import dataclasses

import pytest
from airflow.jobs.job import Job
from airflow.listeners.listener import get_listener_manager
from airflow.models.pool import Pool
from airflow.utils.session import create_session
from sqlalchemy import delete, select

from airflow_sop_provider.airflow_settings import read_settings
from airflow_sop_provider.engine.pools import BATCH_POOL, REALTIME_POOL, pool_of, slots_of
from airflow_sop_provider.listeners import pools
from airflow_sop_provider.listeners.pools import create_pools


@pytest.fixture(autouse=True)
def no_pools(airflow_database):
    forget()
    yield
    forget()


def forget() -> None:
    with create_session() as session:
        session.execute(delete(Pool).where(Pool.pool.in_([REALTIME_POOL, BATCH_POOL])))


def existing() -> dict[str, tuple[int, bool]]:
    with create_session() as session:
        found = session.scalars(select(Pool).where(Pool.pool.like("sop_%"))).all()
        return {pool.pool: (pool.slots, pool.include_deferred) for pool in found}


def test_a_component_that_starts_creates_them():
    assert pools in get_listener_manager().pm.get_plugins(), "the plugin brings the listener"
    Job()
    assert existing() == {REALTIME_POOL: (4096, True), BATCH_POOL: (4096, True)}


def test_a_tasks_process_has_no_database_and_creates_none():
    pools.on_starting(component=object())
    assert existing() == {}


def test_what_an_operator_changed_stays():
    settings = dataclasses.replace(read_settings(), realtime_slots=7, batch_slots=3)
    assert create_pools(settings) == [REALTIME_POOL, BATCH_POOL]
    with create_session() as session:
        session.scalars(select(Pool).where(Pool.pool == BATCH_POOL)).one().slots = 1
    assert create_pools(settings) == []
    assert existing() == {REALTIME_POOL: (7, True), BATCH_POOL: (1, True)}


def test_two_components_that_start_at_once(monkeypatch):
    """The other one creates them between our look and our insert."""
    real = pools.create_session
    settings = read_settings()
    monkeypatch.setattr(pools, "select", lambda column: _late(column, monkeypatch, real, settings))
    assert create_pools(settings) == []
    assert len(existing()) == 2


def _late(column, monkeypatch, real, settings):
    monkeypatch.setattr(pools, "select", select)
    looked = select(column).where(Pool.pool == "nothing")
    with real(scoped=False) as session:
        session.add(Pool(pool=REALTIME_POOL, slots=1, description="", include_deferred=True))
        session.add(Pool(pool=BATCH_POOL, slots=1, description="", include_deferred=True))

    class Statement:
        def where(self, *conditions: object) -> object:
            return looked

    return Statement()


@pytest.mark.parametrize(
    ("run_type", "conf", "pool"),
    [
        ("manual", None, REALTIME_POOL),
        ("manual", {"batch": ""}, REALTIME_POOL),
        ("manual", {"batch": "2026-10"}, BATCH_POOL),
        ("asset_triggered", {}, REALTIME_POOL),
        ("scheduled", {}, BATCH_POOL),
        ("backfill", {}, BATCH_POOL),
    ],
)
def test_where_an_execution_waits(run_type, conf, pool):
    assert pool_of(run_type, conf) == pool


@pytest.mark.parametrize(("millis", "slots"), [(None, 1), (1, 1), (250, 1), (251, 2), (1000, 4), (3900, 16)])
def test_slots_follow_the_cpu(millis, slots):
    assert slots_of(millis) == slots
