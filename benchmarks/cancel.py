"""How long a step goes on after its execution was cancelled: from the REST call until none of its processes is left."""

from __future__ import annotations

import random
import time

from benchmarks.airflow import BenchAirflow
from benchmarks.bench import Bench, BenchmarkError
from benchmarks.report import Table, p50, p95

__all__ = ["measure"]

_DAG = "bench-sleep"
_SECONDS = 120.0
_LOOK_SECONDS = 0.02


def measure(bench: Bench) -> list[Table]:
    """Cancel one execution after the other."""
    count = bench.number(full=20, quick=2)
    airflow = bench.airflow
    answered, gone = [], []
    for turn in range(count):
        bench.say(f"cancel: {turn + 1} of {count}")
        answer, end = _cancel(airflow)
        answered.append(answer)
        gone.append(end)
    row = ("SOP step, SopExecutor, local runtime", p50(answered), min(gone), p50(gone), p95(gone), max(gone))
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
            ),
            rows=[row],
            notes=(
                f"{count} executions one after the other, from just before the call is sent to the last process gone",
                "gone: none of the step's processes is left",
                "the step is a program that would go on and ends when it is asked to",
                "goal: within 2 s",
            ),
        )
    ]


def _cancel(airflow: BenchAirflow) -> tuple[float, float]:
    airflow.settle(0)
    run = airflow.api.trigger(_DAG, {})
    airflow.wait_for(
        lambda: [step for step in airflow.api.steps(_DAG, run) if step.state == "running"] and airflow.step_processes(),
        f"the step of {run} to run",
        seconds=_SECONDS,
    )
    time.sleep(random.uniform(1.0, 2.0))  # not in step with anybody's loop
    began = time.monotonic()
    airflow.api.cancel(_DAG, run)
    answered = time.monotonic() - began
    while airflow.step_processes():
        if time.monotonic() - began > _SECONDS:
            raise BenchmarkError(f"{run} was cancelled {_SECONDS:.0f} s ago and its step still runs")
        time.sleep(_LOOK_SECONDS)
    return answered, time.monotonic() - began
