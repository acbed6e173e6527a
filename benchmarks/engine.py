"""The engine under load: status queries and heartbeats while thousands of executions run, on the real API server."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict

from benchmarks.bench import Bench, BenchmarkError
from benchmarks.cpu import difference
from benchmarks.engine_load import Load, Measured
from benchmarks.engine_server import SOP, EngineServer
from benchmarks.report import Cell, Table
from tools.dev.environment import ROOT

__all__ = ["measure"]

_WORKERS = 2


def measure(bench: Bench) -> list[Table]:
    """Fill the engine, call it for five minutes, tell how long answers took and what they cost."""
    count = bench.number(full=4000, quick=20)
    seconds = float(bench.number(full=bench.seconds, quick=3))
    rates = (bench.number(full=200, quick=20), bench.number(full=150, quick=10))
    with EngineServer(bench, workers=_WORKERS if bench.postgres else 1) as server:
        took = server.submit(count)
        bench.say(f"engine: {count} executions submitted in {took:.0f} s")
        running = server.begin()
        plans = server.plans()
        bench.say("engine: all run; calling")
        load = Load(
            url=server.instance.url, sop=SOP, token=server.token(), running=[str(file) for file in running],
            statuses=rates[0], heartbeats=rates[1], seconds=seconds,
        )  # fmt: skip
        _call(bench, Load(**{**asdict(load), "seconds": min(5.0, seconds)}))  # the first calls load code
        before = server.cpu_seconds()
        measured = _call(bench, load)
        used = difference(server.cpu_seconds(), before)
    return [_table(bench, load, measured, count, took), _costs(load, measured, used), _plans(plans)]


def _call(bench: Bench, load: Load) -> Measured:
    folder = bench.folder("engine")
    asked, told = folder / "load.json", folder / "measured.json"
    asked.touch(mode=0o600)
    asked.write_text(json.dumps(asdict(load)))
    command = [sys.executable, "-m", "benchmarks.engine_load", str(asked), str(told)]
    if subprocess.run(command, cwd=ROOT, check=False).returncode:
        raise BenchmarkError("the calls could not be made; what they said stands above")
    return Measured(**json.loads(told.read_text()))


def _table(bench: Bench, load: Load, measured: Measured, count: int, took: float) -> Table:
    wrong = {answer: number for answer, number in sorted(measured.answers.items()) if not answer.endswith(" 200")}
    rows: list[tuple[Cell, ...]] = [
        ("status query", load.statuses, len(measured.status), *_quantiles(measured.status)),
        ("heartbeat", load.heartbeats, len(measured.heartbeat), *_quantiles(measured.heartbeat)),
    ]
    return Table(
        name="engine",
        title=f"The engine's API while {count:,} executions run, for {load.seconds:.0f} s, ms",
        columns=("call", "a second", "answered", "p50", "p95", "p99", "worst"),
        rows=rows,
        notes=(
            f"errors: {wrong or 'none'}",
            "each time counts from when the call was due, whatever became of those before it",
            f"real submissions, {count / took:.0f} a second by 4 callers; ten steps each, some done, one running, with "
            "attempts, events and audit entries written by the functions that the executor's child uses",
            f"API server ({_WORKERS if bench.postgres else 1} workers), database and caller share the machine; "
            "no scheduler runs",
            "goal: p99 of the status query under 100 ms, aim 20 ms",
        ),
    )  # fmt: skip


def _quantiles(seconds: Sequence[float]) -> tuple[Cell, ...]:
    if len(seconds) < 2:
        return (None, None, None, None)
    cuts = statistics.quantiles(seconds, n=100, method="inclusive")
    return (cuts[49] * 1e3, cuts[94] * 1e3, cuts[98] * 1e3, max(seconds) * 1e3)


def _costs(load: Load, measured: Measured, used: dict[str, float]) -> Table:
    calls = len(measured.status) + len(measured.heartbeat)
    parts = {**used, "the caller itself": measured.cpu_seconds}
    return Table(
        name="engine-cpu",
        title="CPU meanwhile",
        columns=("process", "cores used", "CPU ms per call"),
        rows=[(name, value / measured.seconds, value / max(1, calls) * 1e3) for name, value in parts.items()],
    )


def _plans(plans: Sequence[str]) -> Table:
    return Table(
        name="engine-plans",
        title="How the database answers a status query",
        columns=("query", "plan"),
        rows=[tuple(plan.split(": ", 1)) for plan in plans],
    )
