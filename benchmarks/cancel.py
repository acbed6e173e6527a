"""How long a step goes on after its execution was cancelled: from the REST call until none of its processes is left.

Ours and a BashOperator on the LocalExecutor, in turns. The processes are found once, before the call; from
then on each is only asked whether it still lives, because searching all processes would take a core's time.
"""

from __future__ import annotations

import random
import time
from dataclasses import dataclass, field

import psutil

from benchmarks.airflow import BenchAirflow
from benchmarks.bench import Bench, BenchmarkError
from benchmarks.cpu import processes_running
from benchmarks.documents import ENDLESS
from benchmarks.report import Table, p50, p95, ratio

__all__ = ["measure"]

_SECONDS = 120.0
_LOOK_SECONDS = 0.01


@dataclass
class _Way:
    """A DAG that is cancelled again and again, and what was seen, in seconds."""

    label: str
    dag: str
    answered: list[float] = field(default_factory=list)
    gone: list[float] = field(default_factory=list)


def measure(bench: Bench) -> list[Table]:
    """Cancel one execution after the other."""
    count = bench.number(full=20, quick=2)
    airflow = bench.airflow
    ways = [
        _Way("SOP step, SopExecutor, local runtime", "bench-sleep"),
        _Way("BashOperator, LocalExecutor", "bench-wait"),
    ]
    for turn in range(count):
        bench.say(f"cancel: {turn + 1} of {count}")
        for way in ways:
            _cancel(airflow, way)
    base = p50(ways[0].gone)
    return [
        Table(
            name="cancel",
            title="REST call that cancels an execution to the end of its step, seconds",
            columns=(
                "step",
                "call answered p50",
                "processes gone, quickest",
                "processes gone p50",
                "processes gone p95",
                "longest",
                "p50, x SOP",
            ),
            rows=[
                (
                    way.label, p50(way.answered), min(way.gone), p50(way.gone), p95(way.gone), max(way.gone),
                    ratio(p50(way.gone), base),
                )
                for way in ways
            ],
            notes=(
                f"{count} executions each, in turns, from just before the call is sent to the last process gone",
                "gone: none of the step's processes is left; of a BashOperator only its program is looked at",
                "the step is a program that would go on and ends when it is asked to",
                "goal: within 2 s",
            ),
        )
    ]  # fmt: skip


def _cancel(airflow: BenchAirflow, way: _Way) -> None:
    airflow.settle(0)
    run = airflow.api.trigger(way.dag, {})
    programs = airflow.wait_for(
        lambda: (
            [step for step in airflow.api.steps(way.dag, run) if step.state == "running"] and processes_running(ENDLESS)
        ),
        f"the step of {run} to run",
        seconds=_SECONDS,
    )
    alive = {*programs, *airflow.step_pids()}
    time.sleep(random.uniform(1.0, 2.0))  # not in step with anybody's loop
    began = time.monotonic()
    airflow.api.cancel(way.dag, run)
    way.answered.append(time.monotonic() - began)
    while alive := {pid for pid in alive if _lives(pid)}:
        if time.monotonic() - began > _SECONDS:
            raise BenchmarkError(f"{run} was cancelled {_SECONDS:.0f} s ago and its step still runs")
        time.sleep(_LOOK_SECONDS)
    way.gone.append(time.monotonic() - began)


def _lives(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
