"""The load on the engine: what is called, how it is counted, and the executions it is made on."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
from aiohttp import web

from benchmarks.engine import _quantiles
from benchmarks.engine_load import Load, Measured, call_for


async def served(tmp_path: Path, status: int, *, stall: float = 0.0) -> tuple[Measured, list[str]]:
    """Call a server that answers so; return what was measured and the paths it was asked for."""
    asked: list[str] = []

    async def answer(request: web.Request) -> web.Response:
        asked.append(f"{request.method} {request.path} {request.headers['Authorization']}")
        if stall and len(asked) == 1:
            await asyncio.sleep(stall)
        return web.json_response({"status": "RUNNING", "stored": 0}, status=status)

    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    file = tmp_path / "running.json"
    file.write_text(json.dumps([{"run": "a:1", "token": "t1"}, {"run": "b+2", "token": "t2"}]))
    try:
        port = runner.addresses[0][1]
        load = Load(
            url=f"http://127.0.0.1:{port}", sop="s", token="people", running=[str(file)], statuses=20, heartbeats=10,
            seconds=1.0,
        )  # fmt: skip
        return await call_for(load), asked
    finally:
        await runner.cleanup()


async def test_every_call_is_made_and_counted(tmp_path) -> None:
    measured, asked = await served(tmp_path, 200)
    assert measured.answers == {"status 200": 20, "heartbeat 200": 10}
    assert (len(measured.status), len(measured.heartbeat)) == (20, 10)
    assert measured.cpu_seconds > 0
    posts = {line for line in asked if line.startswith("POST")}
    assert posts == {f"POST /sop/api/v1/runner/events Bearer {token}" for token in ("t1", "t2")}
    gets = {line for line in asked if line.startswith("GET")}
    assert gets == {f"GET /sop/api/v1/sops/s/executions/{run}/status Bearer people" for run in ("a:1", "b+2")}


async def test_a_wrong_answer_is_an_error(tmp_path) -> None:
    measured, _ = await served(tmp_path, 503)
    assert measured.answers == {"status 503": 20, "heartbeat 503": 10}


async def test_a_server_that_is_away_is_an_error(tmp_path) -> None:
    file = tmp_path / "running.json"
    file.write_text(json.dumps([{"run": "a", "token": "t"}]))
    load = Load(
        url="http://127.0.0.1:9", sop="s", token="x", running=[str(file)], statuses=10, heartbeats=5, seconds=0.5
    )
    measured = await call_for(load)
    assert sum(measured.answers.values()) == 7
    assert not any(answer.endswith(" 200") for answer in measured.answers)
    assert measured.status == []


async def test_one_slow_answer_does_not_slow_the_calls_down(tmp_path) -> None:
    measured, asked = await served(tmp_path, 200, stall=0.7)
    assert len(asked) == 30
    assert max(measured.status + measured.heartbeat) >= 0.7
    assert sum(seconds >= 0.7 for seconds in measured.status + measured.heartbeat) == 1


def test_quantiles_are_milliseconds() -> None:
    assert _quantiles([0.001 * n for n in range(1, 101)]) == pytest.approx((50.5, 95.05, 99.01, 100.0))
    assert _quantiles([]) == (None, None, None, None)
