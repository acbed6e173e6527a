"""What the fleet's gateway costs: a call through it against the same call without it, and what open sessions take.

Calls go to one official MCP server, whose tool does nothing, in turns: by the official client on a session that is
open, and by a runner's own caller, which sends one request on a new connection. What the gateway adds is the token's
verification, the SOP's limits, the breaker, and the record in the audit log, on disk before the result goes out.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

from airflow_sop_provider.contract.fleet_calls import GATEWAY_PATH, ORDINAL_META, PROTOCOL_VERSION
from airflow_sop_provider.runner.gateway_call import GatewayCaller
from benchmarks.bench import Bench, BenchmarkError
from benchmarks.fleet_parts import FleetUnderTest
from benchmarks.fleet_server import NAME, TOOL
from benchmarks.report import Table, p50, ratio

__all__ = ["measure"]

_MILLI = 1000.0
_MEBI = 1024.0 * 1024.0
_AT_ONCE = 16
_ARGUMENTS = {"text": "hello"}


def measure(bench: Bench) -> list[Table]:
    """Measure calls, then calls at once, then sessions."""
    with FleetUnderTest(bench) as fleet:
        return [_latency(bench, fleet), _throughput(bench, fleet), _sessions(bench, fleet)]


def _latency(bench: Bench, fleet: FleetUnderTest) -> Table:
    count = bench.number(full=500, quick=20)
    bench.say(f"fleet: {count} calls of each kind, in turns")
    (token,) = fleet.tokens(1)
    seen = asyncio.run(_in_turns(fleet, token, count))
    rows = []
    for label in seen:
        base = seen[label.replace("gateway", "direct")]
        row_p50, row_p99 = p50(seen[label]), _p99(seen[label])
        rows.append((label, _ms(row_p50), _ms(row_p99), _ms(row_p50 - (p50(base) or 0)), ratio(row_p50, p50(base))))
    return Table(
        name="fleet",
        title="A tool call, one after the other, ms",
        columns=("call", "p50", "p99", "p50 above direct", "p50, x direct"),
        rows=rows,
        notes=(
            f"{count} calls of each kind in turns; the tool only looks and does nothing",
            "official client: a session that is open; runner's caller: one POST on a new connection, as a step makes",
            "a call through the gateway is recorded in the audit log before its result goes out",
        ),
    )


async def _in_turns(fleet: FleetUnderTest, token: str, count: int) -> dict[str, list[float]]:
    runner = _runner(token)
    async with _client(fleet.server, token) as direct, _client(fleet.gateway, token) as through:
        calls: dict[str, Callable[[], Any]] = {
            "official client, direct": lambda: direct.call_tool(TOOL, _ARGUMENTS),
            "official client, gateway": lambda: through.call_tool(TOOL, _ARGUMENTS),
            "runner's caller, direct": lambda: asyncio.to_thread(runner, fleet.server),
            "runner's caller, gateway": lambda: asyncio.to_thread(runner, fleet.gateway),
        }
        seen: dict[str, list[float]] = {label: [] for label in calls}
        for turn in range(-5, count):
            for label, call in calls.items():
                started = time.perf_counter()
                await call()
                if turn >= 0:
                    seen[label].append(time.perf_counter() - started)
    return seen


@asynccontextmanager
async def _client(address: str, token: str) -> Any:
    headers = {"Authorization": f"Bearer {token}"}
    async with (
        httpx2.AsyncClient(headers=headers, timeout=60) as http,
        Client(streamable_http_client(address + GATEWAY_PATH.format(server=NAME), http_client=http)) as client,
    ):
        yield client


def _runner(token: str) -> Callable[[str], Any]:
    handle, name = tempfile.mkstemp(prefix="sop-bench-token-")
    with os.fdopen(handle, "w") as file:
        file.write(token)
    return lambda address: GatewayCaller(address, Path(name)).call(NAME, TOOL, _ARGUMENTS, 60.0, 0)


def _throughput(bench: Bench, fleet: FleetUnderTest) -> Table:
    seconds = bench.number(full=20, quick=2)
    bench.say(f"fleet: {_AT_ONCE} callers for {seconds} s")
    tokens = fleet.tokens(_AT_ONCE, first=1000)
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) > 1:
        fleet.pin("gateway", {cores[0]})
        fleet.pin("server", set(cores[1:]))
        os.sched_setaffinity(0, cores[1:])
    before, own = fleet.cpu_seconds(), time.process_time()
    try:
        done, elapsed = asyncio.run(_all_at_once(fleet.gateway, tokens, seconds))
    finally:
        os.sched_setaffinity(0, cores)
    used = {name: value - before[name] for name, value in fleet.cpu_seconds().items()}
    per_call = {name: _ms(value / done) for name, value in {**used, "callers": time.process_time() - own}.items()}
    return Table(
        name="fleet",
        title="Calls through one gateway process on one core",
        columns=("callers", "calls a second", "gateway, CPU ms a call", "server", "callers' own"),
        rows=[(f"{_AT_ONCE} at once", done / elapsed, per_call["gateway"], per_call["server"], per_call["callers"])],
        notes=(
            f"{done:,} calls, each caller an execution of its own; the gateway has a core, all others share the rest",
            f"one core of the gateway is worth {done / used['gateway']:,.0f} calls; the database's CPU is not counted"
            " in it" if bench.postgres else f"one core of the gateway is worth {done / used['gateway']:,.0f} calls",
        ),
    )  # fmt: skip


async def _all_at_once(address: str, tokens: list[str], seconds: float) -> tuple[int, float]:
    """Return how many calls were answered, and within how many seconds."""
    started = time.perf_counter()
    async with httpx2.AsyncClient(timeout=60, limits=httpx2.Limits(max_connections=len(tokens))) as http:
        counts = await asyncio.gather(*(_calls(http, address, token, started + seconds) for token in tokens))
    return sum(counts), time.perf_counter() - started


async def _calls(http: httpx2.AsyncClient, address: str, token: str, until: float) -> int:
    count = 0
    while time.perf_counter() < until:
        await _call(http, address, token, count)
        count += 1
    return count


async def _call(http: httpx2.AsyncClient, address: str, token: str, ordinal: int) -> None:
    envelope = {
        "io.modelcontextprotocol/protocolVersion": PROTOCOL_VERSION,
        "io.modelcontextprotocol/clientInfo": {"name": "bench", "version": "1"},
        "io.modelcontextprotocol/clientCapabilities": {},
    }
    params = {"name": TOOL, "arguments": _ARGUMENTS, "_meta": {**envelope, ORDINAL_META: ordinal}}
    answer = await http.post(
        address + GATEWAY_PATH.format(server=NAME),
        json={"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params},
        headers={
            "Authorization": f"Bearer {token}",
            "Accept": "application/json, text/event-stream",
            "MCP-Protocol-Version": PROTOCOL_VERSION,
            "Mcp-Method": "tools/call",
            "Mcp-Name": TOOL,
        },
    )
    if answer.status_code != 200 or answer.json().get("result", {}).get("isError", True):
        raise BenchmarkError(f"a call through the gateway failed: {answer.status_code} {answer.text[:300]}")


def _sessions(bench: Bench, fleet: FleetUnderTest) -> Table:
    rows = []
    opened = 0
    empty = fleet.memory_bytes()
    for count in _steps(bench):
        bench.say(f"fleet: {count} sessions")
        tokens = fleet.tokens(count - opened, first=10_000 + opened)
        started = time.perf_counter()
        asyncio.run(_open(fleet.gateway, tokens))
        seconds = time.perf_counter() - started
        opened = count
        again = asyncio.run(_again(fleet.gateway, tokens))
        now = fleet.memory_bytes()
        grown = {name: now[name] - empty[name] for name in now}
        rows.append(
            (
                f"{count:,}", len(tokens) / seconds, now["gateway"] / _MEBI, grown["gateway"] / count / 1024.0,
                now["server"] / _MEBI, _ms(p50(again)), _ms(_p99(again)),
            )
        )  # fmt: skip
    return Table(
        name="fleet",
        title="Sessions that are open at once",
        columns=("sessions", "opened a second", "gateway, MiB", "KiB a session", "server, MiB", "call p50, ms", "p99"),
        rows=rows,
        notes=(
            "each an execution of its own, with its own connection to the server, opened by its first call",
            "calls: 200 of these executions, one after the other, while all are open",
        ),
    )


def _steps(bench: Bench) -> Iterator[int]:
    return iter((1000, 2000, 4000) if not bench.quick else (20, 40))


async def _open(address: str, tokens: list[str]) -> None:
    slots = asyncio.Semaphore(_AT_ONCE)
    async with httpx2.AsyncClient(timeout=60, limits=httpx2.Limits(max_connections=_AT_ONCE)) as http:

        async def one(token: str) -> None:
            async with slots:
                await _call(http, address, token, 0)

        await asyncio.gather(*(one(token) for token in tokens))


async def _again(address: str, tokens: list[str]) -> list[float]:
    seen = []
    async with httpx2.AsyncClient(timeout=60) as http:
        for token in tokens[:: max(1, len(tokens) // 200)]:
            started = time.perf_counter()
            await _call(http, address, token, 1)
            seen.append(time.perf_counter() - started)
    return seen


def _p99(values: list[float]) -> float:
    return statistics.quantiles(values, n=100, method="inclusive")[98]


def _ms(seconds: float | None) -> float:
    return (seconds or 0.0) * _MILLI
