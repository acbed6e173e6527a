"""The engine's own work: done by one, taken over by another, and never ended by a problem."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import create_engine, select
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from airflow_sop_provider.api.app import create_app
from airflow_sop_provider.api.background import Background, Job
from airflow_sop_provider.plugins.engine_app import EngineApps
from airflow_sop_provider.store import leases
from airflow_sop_provider.store.control_tables import LeaseRow
from airflow_sop_provider.store.leases import hold
from airflow_sop_provider.store.tables import metadata


@pytest.fixture
def sessions(tmp_path):
    engine = create_engine(f"sqlite:///{tmp_path / 'engine.db'}")
    metadata.create_all(engine)

    def begin():
        return _Committing(engine)

    yield begin
    engine.dispose()


class _Committing:
    def __init__(self, engine) -> None:
        self._session = Session(engine)

    def __enter__(self) -> Session:
        return self._session

    def __exit__(self, kind, *_) -> None:
        self._session.rollback() if kind else self._session.commit()
        self._session.close()


async def until(reached) -> None:
    """Wait for what a thread does."""
    while not reached():  # noqa: ASYNC110  a thread sets no event of this loop
        await asyncio.sleep(0.01)


def test_one_holds_a_lease_until_it_ends(sessions, monkeypatch: pytest.MonkeyPatch) -> None:
    begun = datetime(2026, 11, 25, tzinfo=UTC)

    def holds(session, holder: str, at: float) -> bool:
        monkeypatch.setattr(leases, "utc_now", lambda: begun + timedelta(seconds=at))
        return hold(session, "job", holder, 60)

    with sessions() as session:
        assert holds(session, "a", at=0)
        assert not holds(session, "b", at=1)
        assert holds(session, "a", at=29)
        assert session.scalar(select(LeaseRow.expires_at)) == begun + timedelta(seconds=60), "there is time: no write"
        assert holds(session, "a", at=31), "its holder renews it"
        assert not holds(session, "b", at=90)
        assert holds(session, "b", at=92)
        assert not holds(session, "a", at=93)


async def test_of_two_servers_one_works(sessions) -> None:
    done: list[str] = []
    jobs = [[Job(name="count", work=lambda _, me=me: done.append(me), seconds=0.01)] for me in "ab"]
    servers = [Background(one, sessions) for one in jobs]
    for server in servers:
        server.start()
    await until(lambda: len(done) >= 5)
    for server in servers:
        await server.stop()
    assert len(set(done)) == 1


async def test_a_problem_does_not_end_it(sessions, caplog) -> None:
    turns: list[int] = []

    def work(_) -> None:
        turns.append(len(turns))
        if len(turns) == 1:
            raise OperationalError("SELECT 1", {}, Exception("no such table: sop_execution"))
        if len(turns) == 2:
            raise ValueError("a mistake of ours")

    server = Background([Job(name="broken", work=work, seconds=0.01)], sessions)
    server.start()
    await until(lambda: len(turns) >= 4)
    await server.stop()
    assert "cannot use the engine's tables" in caplog.text
    assert "a mistake of ours" in caplog.text


def test_the_app_is_made_when_it_is_asked_for(airflow_database) -> None:
    apps = EngineApps()
    assert len(apps) == 0
    found: list = []
    found.extend(apps)
    assert [one["url_prefix"] for one in found] == ["/sop"]
    assert found[0]["app"] is next(iter(apps))["app"]


def test_every_endpoint_asks_who_calls() -> None:
    """A route without a security requirement in OpenAPI is open to everybody."""
    described = create_app().openapi()["paths"]
    for path, methods in described.items():
        for method, operation in methods.items():
            assert operation.get("security"), f"{method.upper()} {path}"
