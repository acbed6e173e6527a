"""Requests that write to SQLite take turns."""

from __future__ import annotations

import asyncio

import httpx
import pytest
from airflow.configuration import conf

from airflow_sop_provider.plugins.sop_plugin import SopPlugin
from airflow_sop_provider.plugins.sqlite_turns import Message, Receive, Scope, Send, SqliteTurns, root_middlewares


class Application:
    """Counts who is inside, and keeps everybody there until it is open."""

    def __init__(self) -> None:
        self.inside = 0
        self.most = 0
        self.order: list[str] = []
        self.entered = asyncio.Semaphore(0)
        self.open = asyncio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.inside += 1
        self.most = max(self.most, self.inside)
        self.order.append(scope["path"])
        self.entered.release()
        try:
            await self.open.wait()
            if scope["path"] == "/broken":
                raise RuntimeError("no answer")
        finally:
            self.inside -= 1
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body", "body": b""})


@pytest.fixture
def application() -> Application:
    return Application()


def client(application: Application, **options: float) -> httpx.AsyncClient:
    transport = httpx.ASGITransport(SqliteTurns(application, **options))
    return httpx.AsyncClient(transport=transport, base_url="http://test")


@pytest.mark.parametrize("method", ["POST", "PATCH", "PUT", "DELETE"])
async def test_one_writes_at_a_time_in_the_order_of_arrival(application: Application, method: str) -> None:
    async with client(application) as api:
        paths = [f"/{number}" for number in range(20)]
        calls = []
        for path in paths:
            calls.append(asyncio.create_task(api.request(method, path)))
            await asyncio.sleep(0.002)
        application.open.set()
        answers = await asyncio.gather(*calls)
    assert {answer.status_code for answer in answers} == {204}
    assert application.most == 1
    assert application.order == paths


async def test_who_reads_waits_for_nobody(application: Application) -> None:
    async with client(application) as api:
        calls = [asyncio.create_task(api.post("/write"))]
        calls += [asyncio.create_task(api.request(method, "/read")) for method in ("GET", "HEAD", "OPTIONS")]
        async with asyncio.timeout(20):
            for _ in calls:
                await application.entered.acquire()
        application.open.set()
        await asyncio.gather(*calls)


async def test_a_request_that_breaks_gives_its_turn_back(application: Application) -> None:
    application.open.set()
    async with client(application) as api:
        with pytest.raises(RuntimeError, match="no answer"):
            await api.post("/broken")
        async with asyncio.timeout(20):
            assert (await api.post("/next")).status_code == 204


async def test_who_waited_too_long_is_told_to_come_again(application: Application) -> None:
    async with client(application, wait_seconds=0.05) as api:
        first = asyncio.create_task(api.post("/first"))
        await application.entered.acquire()
        late = await api.post("/late")
        assert late.status_code == 503
        assert late.headers["retry-after"] == "1"
        assert "SQLite" in late.json()["detail"]
        application.open.set()
        assert (await first).status_code == 204
        assert (await api.post("/after")).status_code == 204
    assert application.order == ["/first", "/after"]


async def test_a_websocket_and_the_start_of_the_server_pass(application: Application) -> None:
    seen = []

    async def inner(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(scope["type"])

    async def nothing() -> Message:
        return {}

    async def nowhere(message: Message) -> None:
        raise AssertionError(message)

    for kind in ("lifespan", "websocket"):
        await SqliteTurns(inner)({"type": kind}, nothing, nowhere)
    assert seen == ["lifespan", "websocket"]


def test_only_sqlite_has_them() -> None:
    assert root_middlewares("postgresql+psycopg2://a:b@c/d") == []
    assert [found["middleware"] for found in root_middlewares("sqlite:////a.db?timeout=60")] == [SqliteTurns]
    assert conf.get("database", "sql_alchemy_conn").startswith("sqlite")
    assert [found["middleware"] for found in SopPlugin.fastapi_root_middlewares] == [SqliteTurns]
