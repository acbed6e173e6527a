"""From the start of a step's process to its first action, and what starting it costs whoever starts it.

Attempts on the local runtime, one after the other, without Airflow: a step of each deterministic
kind, and two programs that do nothing as a floor: Python's own start cannot be avoided by a runner in Python.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from airflow_sop_provider.contract import Assignment, AttemptKey, StepPayload
from airflow_sop_provider.engine.attempts import attempt_spec
from airflow_sop_provider.runtimes.base import AttemptSpec, Outcome
from airflow_sop_provider.runtimes.local import LocalRuntime
from benchmarks.bench import Bench, BenchmarkError
from benchmarks.report import Cell, Table, p50, p95
from tools.dev.environment import ROOT

__all__ = ["measure"]

_MILLI = 1000.0
_STEPS: Mapping[str, Mapping[str, Any]] = {
    "compute": {"compute": {"value": "1 + 1"}},
    "decision": {
        "decision": {
            "question": "Is it?",
            "options": {"yes": "it is", "no": "it is not"},
            "rule": "'yes' if 1 else 'no'",
        }
    },
    "command": {"command": {"command": ["true"]}},
    "tool": {"tool": "environment.python_info", "arguments": {}},
}
_PROGRAMS: Mapping[str, tuple[str, ...]] = {
    "floor: /bin/true": ("true",),
    "floor: python -c pass": (sys.executable, "-c", "pass"),
}


class _Settings:
    fleet_file = ROOT / "fleet.yaml"


@dataclass
class _Seen:
    """Seconds, one entry per attempt."""

    spawn: list[float] = field(default_factory=list)
    spawn_cpu: list[float] = field(default_factory=list)
    action: list[float] = field(default_factory=list)
    whole: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)


def measure(bench: Bench) -> list[Table]:
    """Measure every kind, in turns."""
    count = bench.number(full=20, quick=2)
    seen = {label: _Seen() for label in (*_STEPS, *_PROGRAMS)}
    asyncio.run(_attempts(bench, seen, count))
    return [_table(seen, count)]


async def _attempts(bench: Bench, seen: Mapping[str, _Seen], count: int) -> None:
    runtime = LocalRuntime(bench.folder("runner"))
    try:
        for turn in range(-1, count):  # the first turn warms the file system's cache
            bench.say(f"runner: {max(turn + 1, 0)} of {count}")
            for label in seen:
                await _attempt(runtime, label, turn, seen[label] if turn >= 0 else _Seen())
    finally:
        await runtime.close()


async def _attempt(runtime: LocalRuntime, label: str, turn: int, seen: _Seen) -> None:
    spec = _spec(label, turn)
    began, cpu = time.perf_counter(), time.process_time()
    handle = await runtime.start(spec)
    seen.spawn.append(time.perf_counter() - began)
    seen.spawn_cpu.append(time.process_time() - cpu)
    outcome = await runtime.wait(handle)
    seen.whole.append(time.perf_counter() - began)
    _note(label, outcome, runtime, handle.name, seen)
    await runtime.remove(handle)


def _note(label: str, outcome: Outcome, runtime: LocalRuntime, name: str, seen: _Seen) -> None:
    if outcome.exit_code != 0:
        output = (runtime.folder(name) / "output.log").read_text(errors="replace")
        raise BenchmarkError(f"an attempt of kind {label} ended with {outcome.exit_code}:\n{output[-2000:]}")
    if outcome.usage is not None and outcome.usage.cpu_seconds is not None:
        seen.cpu.append(outcome.usage.cpu_seconds)
    if label in _STEPS:
        seen.action.append(_first_action(runtime, name))


def _first_action(runtime: LocalRuntime, name: str) -> float:
    """Return seconds from the start of the process, its entry program included, to the first action."""
    verdict = json.loads((runtime.folder(name) / "verdict.json").read_text())
    return float(verdict["first_action_seconds"])


def _spec(label: str, turn: int) -> AttemptSpec:
    number = turn + 1
    if label in _PROGRAMS:
        position = list(_PROGRAMS).index(label)
        return AttemptSpec(name=f"sop-bench-floor-{position}-{number}", argv=_PROGRAMS[label])
    payload = StepPayload(
        kind="step",
        sop="bench",
        version="1.0.0",
        digest="0" * 64,
        step={"id": label, **_STEPS[label]},
        data_sources={"environment": {"server": "python-environment", "tools": ["python_info"]}},
    )
    key = AttemptKey(sop="bench", run_id=f"run-{number}", step=label, attempt=1, task_instance_id=str(number))
    return attempt_spec(Assignment(key=key, payload=payload), _Settings())


def _table(seen: Mapping[str, _Seen], count: int) -> Table:
    rows = [_row(label, one) for label, one in seen.items()]
    return Table(
        name="runner",
        title="A step's process on the local runtime, ms",
        columns=(
            "kind",
            "first action, quickest",
            "first action p50",
            "first action p95",
            "spawn",
            "spawn CPU",
            "whole attempt",
            "attempt's CPU",
        ),
        rows=rows,
        notes=(
            f"{count} attempts of each kind in turns, one at a time, without Airflow",
            "first action: from the process's start (resolution 10 ms) to the evaluation, the program or the call;"
            " a tool's MCP client is loaded after that",
            "quickest: of all attempts, the one that a limited machine's host has stopped least",
            "spawn: until the attempt is on disk, locked and started, and the starter's own CPU time for it",
            "whole attempt: until its end is seen; for a tool with the start of its MCP server",
            "goal: first action under 500 ms",
        ),
    )


def _row(label: str, seen: _Seen) -> tuple[Cell, ...]:
    seconds = (
        min(seen.action, default=None), p50(seen.action), p95(seen.action),
        p50(seen.spawn), p50(seen.spawn_cpu), p50(seen.whole), p50(seen.cpu),
    )  # fmt: skip
    return label, *(None if value is None else value * _MILLI for value in seconds)
