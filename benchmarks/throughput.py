"""What a step costs Airflow when many are submitted at once: steps a minute, and CPU seconds per step by component.

The same execution of a single step that does nothing, four ways: our executor, a BashOperator on the
LocalExecutor, a task that an executor ends as soon as it has it, the least any executor can cost, and an
EmptyOperator, which no executor ever sees: the least an execution can cost. In turns, on one Airflow. The CPU
time is that of all components from the first POST until everything is over. What the steps themselves do is not
Airflow's cost and is told apart: our runners have their own account, the BashOperator's shells are subtracted.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from benchmarks.airflow import BenchAirflow
from benchmarks.bench import Bench, BenchmarkError
from benchmarks.cpu import EXECUTOR, RUNNERS, difference
from benchmarks.report import Cell, Table, p50, ratio
from tools.dev.rest import AirflowApi, ApiError

__all__ = ["ACCOUNTS", "Round", "measure", "one_round", "submit"]

_SECONDS = 1800.0
_CALLERS = 4
_TRIES = 5
_AFTER_SECONDS = 2.0
_SHELL_SAMPLES = 50
_MINUTE = 60.0

_LEAST = "any task, an executor that does nothing"
_WAYS: Mapping[str, str] = {
    "SOP step, SopExecutor": "bench-command",
    "BashOperator, LocalExecutor": "bench-bash",
    _LEAST: "bench-noop",
    "EmptyOperator, no executor": "bench-empty",
}
_FLOOR = "EmptyOperator, no executor"
ACCOUNTS = ("api-server", "scheduler", EXECUTOR, "dag-processor", "triggerer", "database")


@dataclass(frozen=True)
class Round:
    """One batch: executions, how many failed, seconds from the first POST to the last end, CPU seconds per step.

    :param counted: seconds for which CPU time was counted, from before the first POST until a little after the end.
    """

    steps: int
    failed: int
    wall: float
    cpu: dict[str, float]
    counted: float = 0.0

    @property
    def total(self) -> float:
        """CPU seconds per step on Airflow's side."""
        return sum(seconds for name, seconds in self.cpu.items() if name != RUNNERS)

    @property
    def per_minute(self) -> float:
        """Steps finished a minute."""
        return (self.steps - self.failed) / self.wall * _MINUTE


def measure(bench: Bench) -> list[Table]:
    """Measure them, in turns."""
    rounds, count = bench.number(full=3, quick=1), bench.number(full=100, quick=3)
    airflow = bench.airflow
    shell = _shell_seconds()
    airflow.settle(_AFTER_SECONDS)
    idle = _idle(airflow, bench.number(full=20, quick=2))
    found: dict[str, list[Round]] = {label: [] for label in _WAYS}
    labels = list(_WAYS)
    for turn in range(rounds):
        for position in range(len(labels)):
            label = labels[(turn + position) % len(labels)]
            bench.say(f"throughput: round {turn + 1} of {rounds}, {label}")
            found[label].append(one_round(airflow, _WAYS[label], count, shell if "Bash" in label else 0.0))
    return [_table(found, rounds, count, idle, shell), _components(found)]


def one_round(airflow: BenchAirflow, dag: str, count: int, shell: float) -> Round:
    """Run a batch of executions of a DAG; ``shell`` are CPU seconds of each that are the step's own."""
    last, before = airflow.database.last_run(), airflow.accounts()
    began = time.time()
    submit(airflow, dag, count)
    submitted = airflow.database.runs_since(dag, last).total
    runs = airflow.runs_over(dag, last, submitted, seconds=_SECONDS)
    airflow.settle(_AFTER_SECONDS)
    used, counted = difference(airflow.accounts(), before), time.time() - began
    # the shells are the LocalExecutor's workers' children, hence in the scheduler's account
    used["scheduler"] -= shell * runs.total
    if runs.last_end is None:
        raise BenchmarkError(f"no execution of {dag} has an end")
    return Round(
        steps=runs.total,
        failed=runs.failed,
        wall=runs.last_end.timestamp() - began,
        counted=counted,
        cpu={name: seconds / runs.total for name, seconds in used.items()},
    )


def submit(airflow: BenchAirflow, dag: str, count: int) -> None:
    """Trigger ``count`` executions, as fast as a few callers can."""
    stopped = threading.Event()

    def call(number: int) -> None:
        client = airflow.client()
        try:
            for _ in range(number):
                if not stopped.is_set():
                    _trigger(client, dag)
        finally:
            client.close()

    shares = [count // _CALLERS + (position < count % _CALLERS) for position in range(_CALLERS)]
    with ThreadPoolExecutor(_CALLERS) as pool:
        try:
            list(pool.map(call, [share for share in shares if share]))
        finally:  # who asks us to end must not wait for all the calls that are left
            stopped.set()


def _trigger(client: AirflowApi, dag: str) -> None:
    """Trigger one; a busy SQLite sometimes answers 5xx, and then the execution may exist or not."""
    for attempt in range(_TRIES):
        try:
            client.trigger(dag, {})
            return
        except ApiError:
            if attempt == _TRIES - 1:
                raise
            time.sleep(0.5)


def _idle(airflow: BenchAirflow, seconds: float) -> float:
    """Return CPU seconds a second of an Airflow without work."""
    began, before = time.monotonic(), airflow.accounts()
    time.sleep(seconds)
    used = difference(airflow.accounts(), before)
    return sum(used.values()) / (time.monotonic() - began)


def _shell_seconds() -> float:
    """Return CPU seconds of the shell that a BashOperator with ``true`` starts."""
    used = 0.0
    for _ in range(_SHELL_SAMPLES):
        pid = os.posix_spawnp("bash", ["bash", "-c", "true"], os.environ)
        usage = os.wait4(pid, 0)[2]
        used += usage.ru_utime + usage.ru_stime
    return used / _SHELL_SAMPLES


def _median(rounds: list[Round], account: str) -> float | None:
    return p50([one.cpu[account] for one in rounds if account in one.cpu])


def _table(found: dict[str, list[Round]], rounds: int, count: int, idle: float, shell: float) -> Table:
    floor = p50([one.total for one in found[_FLOOR]])
    rows: list[tuple[Cell, ...]] = []
    for label, results in found.items():
        total = p50([one.total for one in results])
        rows.append((
            label, p50([one.per_minute for one in results]), total, ratio(total, floor),
            p50([idle * one.counted / one.steps for one in results]),
            _median(results, RUNNERS) if label.startswith("SOP") else None, sum(one.failed for one in results),
        ))  # fmt: skip
    return Table(
        name="throughput",
        title=f"{count} executions of one step submitted at once",
        columns=(
            "step",
            "steps a minute",
            "CPU s per step, Airflow",
            "x EmptyOperator",
            "of which idle",
            "runner CPU s",
            "failed",
        ),
        rows=rows,
        notes=(
            f"median of {rounds} rounds in turns; {_CALLERS} callers of the REST API; every component counted until"
            f" {_AFTER_SECONDS:.0f} s after the last end",
            "the step is `true`: as a command of an SOP, as a BashOperator, and as an EmptyOperator nothing at all",
            f"{_LEAST}: it sets what is queued to success with one statement, and starts nothing",
            f"not Airflow's: the runner (its own column), the BashOperator's shell ({shell * 1000:.1f} ms, subtracted)",
            f"an idle Airflow uses {idle:.3f} CPU-s a second: of which idle, for the time that a batch took",
            "goal: at most 1.5 times the EmptyOperator",
        ),
    )


def _components(found: dict[str, list[Round]]) -> Table:
    accounts = [name for name in ACCOUNTS if any(name in one.cpu for results in found.values() for one in results)]
    return Table(
        name="throughput-components",
        title="The same by component, CPU s per step",
        columns=("step", *accounts),
        rows=[(label, *(_median(results, name) for name in accounts)) for label, results in found.items()],
        notes=("the scheduler's account includes the LocalExecutor's workers",),
    )
