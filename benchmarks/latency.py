"""How long a person waits: from the REST call to the first sign of life of the step, on an idle Airflow.

Both ends are read from one clock, the host's: the caller's before it sends, and what the step itself
wrote. For an SOP step that is the runner's first log line, for a BashOperator what ``date`` printed.
"""

from __future__ import annotations

import json
import random
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from benchmarks.airflow import BenchAirflow
from benchmarks.bench import Bench, BenchmarkError
from benchmarks.report import Cell, Table, p50, p95, ratio

__all__ = ["measure"]

_SECONDS = 120.0
_CLOCK = re.compile(r"\d{9,}\.\d{9}")


@dataclass
class _Probe:
    """A DAG that is triggered again and again, and what was seen."""

    label: str
    dag: str
    answered: list[float] = field(default_factory=list)
    started: list[float] = field(default_factory=list)
    first_line: list[float] = field(default_factory=list)


def measure(bench: Bench) -> list[Table]:
    """Measure both, in turns."""
    count = bench.number(full=20, quick=2)
    probes = [
        _Probe("SOP step, SopExecutor, local runtime", "bench-command"),
        _Probe("BashOperator, LocalExecutor", "bench-clock"),
    ]
    airflow = bench.airflow
    airflow.settle(bench.number(full=10, quick=1))
    for turn in range(count):
        bench.say(f"latency: {turn + 1} of {count}")
        for probe in probes:
            _trigger(airflow, probe)
    return [_table(probes, count)]


def _trigger(airflow: BenchAirflow, probe: _Probe) -> None:
    last = airflow.database.last_run()
    sent = time.time()
    run = airflow.api.trigger(probe.dag, {})
    probe.answered.append(time.time() - sent)
    if airflow.runs_over(probe.dag, last, 1, seconds=_SECONDS).failed:
        raise BenchmarkError(f"the execution {run} of {probe.dag} failed")
    log = airflow.logs / f"dag_id={probe.dag}" / f"run_id={run}" / "task_id=only" / "attempt=1.log"
    started, first_line = airflow.wait_for(lambda: _times(log), f"the log of {run}", seconds=30)
    probe.started.append(started - sent)
    probe.first_line.append(first_line - sent)
    # not in step with the scheduler's loop
    time.sleep(random.uniform(0.5, 1.5))


def _times(log: Path) -> tuple[float, float] | None:
    """Return when the attempt was started and when it first spoke, None while the log does not say."""
    started = first_line = None
    for entry in _entries(log):
        event, logger = str(entry.get("event", "")), entry.get("logger")
        moment = datetime.fromisoformat(entry["timestamp"]).timestamp() if "timestamp" in entry else None
        if event.startswith("Running command:") or (logger == "sop.executor" and event.startswith("Started ")):
            started = started or moment
        elif logger == "sop.runner":
            first_line = first_line or moment
        elif _CLOCK.fullmatch(event.strip()):
            first_line = first_line or float(event)
    return None if started is None or first_line is None else (started, first_line)


def _entries(log: Path) -> Iterator[dict[str, Any]]:
    try:
        lines = log.read_text().splitlines()
    except FileNotFoundError:
        return
    for line in lines:
        try:
            yield json.loads(line)
        except ValueError:  # not complete yet
            continue


def _table(probes: list[_Probe], count: int) -> Table:
    base = p50(probes[0].first_line)
    rows: list[tuple[Cell, ...]] = [
        (
            probe.label, min(probe.started), p50(probe.started), p95(probe.started),
            min(probe.first_line), p50(probe.first_line), p95(probe.first_line),
            ratio(p50(probe.first_line), base),
        )
        for probe in probes
    ]  # fmt: skip
    answered = p50([value for probe in probes for value in probe.answered])
    return Table(
        name="latency",
        title="REST POST to the step, idle Airflow, seconds",
        columns=(
            "step",
            "started, quickest",
            "started p50",
            "started p95",
            "first line, quickest",
            "first line p50",
            "first line p95",
            "p50, x SOP",
        ),
        rows=rows,
        notes=(
            f"{count} executions each, in turns, from just before the POST is sent; it is answered after"
            f" {answered or 0.0:.3f} s (p50)",
            "started: the attempt's process exists (SOP), the operator starts its shell (BashOperator)",
            "first line: written by the runner, printed by the shell's `date`",
            "goal: started p95 under 1 s",
        ),
    )
