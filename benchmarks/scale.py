"""Thousands of executions held at once by one scheduler and one executor's child, each a pod of a simulated node.

Executions are added level by level and none ends; at each level: what memory and processor time the components take,
how long the engine takes to say where an execution stands, and how long after a step's end the next step's pod is
there. Then all are let go, and each has to succeed.
"""

from __future__ import annotations

import random
import secrets
import time
from dataclasses import dataclass
from urllib.parse import quote

import psutil

from benchmarks.airflow import BenchAirflow, Setup
from benchmarks.bench import Bench
from benchmarks.cpu import RUNNERS, difference, executor_child, tree_seconds
from benchmarks.documents import HOLD_SOP, NEXT_SOP
from benchmarks.kubernetes import check_cluster, simulated_options
from benchmarks.pods import PodTimes, namespace
from benchmarks.report import Cell, Table, p50, p95, p99
from benchmarks.throughput import submit
from tools.cluster.daemons import Daemons
from tools.cluster.layout import Layout
from tools.cluster.simulation import hold

__all__ = ["measure"]

_HOLD, _NEXT = "bench-hold", "bench-next"
_LEVELS = (1000, 2000, 4000)
_QUICK = (2, 4)
_EXECUTOR = "sop:airflow_sop_provider.executors.sop_executor.SopExecutor"
_SECONDS = 1800.0
_MIB = 1024 * 1024
_CLUSTER = ("kube-apiserver", "etcd", "kube-scheduler", "kwok")


@dataclass(frozen=True)
class _Level:
    held: int
    ramp: float
    memory: dict[str, float]
    cpu: dict[str, float]
    status: list[float]
    following: list[float]

    def __str__(self) -> str:
        figures = {"status p50, p99": [p50(self.status), p99(self.status)], "next pod": self.following}
        figures |= {"MiB": list(self.memory.items()), "CPU s a second": list(self.cpu.items())}
        return f"{self.held} held after {self.ramp:.0f} s; {figures}"


def measure(bench: Bench) -> list[Table]:
    """Measure level by level."""
    check_cluster()
    layout = Layout.default()
    daemons = Daemons(layout)
    hold(layout, daemons, held=True)
    counts = _QUICK if bench.quick else _LEVELS
    with namespace(f"bench-{secrets.token_hex(4)}") as name:
        options = simulated_options(bench, name)
        options["sop"] |= {"max_active_runs": "8192", "realtime_slots": "16384"}
        # ours alone: the LocalExecutor would fork as many workers as may run at once
        options["core"] = {"executor": _EXECUTOR, "parallelism": "8192", "max_active_runs_per_dag": "8192"}
        setup = Setup(
            sops={"hold.yaml": HOLD_SOP, "next.yaml": NEXT_SOP},
            dags="",
            options=options,
            warm=(_NEXT,),
            present=(_HOLD,),
        )
        with BenchAirflow(bench, setup, name="scale") as airflow, PodTimes(name) as pods:
            last = airflow.database.last_run()
            levels: list[_Level] = []
            for count in counts:
                levels.append(_level(bench, airflow, pods, daemons, count - (levels[-1].held if levels else 0), count))
            began = time.monotonic()
            hold(layout, daemons, held=False)
            runs = airflow.runs_over(_HOLD, last, counts[-1], seconds=_SECONDS)
            drained = time.monotonic() - began
    hold(layout, daemons, held=True)
    return [_table(levels, runs.failed, drained), _memory(levels), _cpu(levels)]


def _level(bench: Bench, airflow: BenchAirflow, pods: PodTimes, daemons: Daemons, more: int, count: int) -> _Level:
    bench.say(f"scale: {count} executions")
    began = time.monotonic()
    submit(airflow, _HOLD, more)
    airflow.wait_for(lambda: pods.running() >= count, f"{count} pods to run", seconds=_SECONDS)
    ramp = time.monotonic() - began
    time.sleep(bench.number(full=5, quick=1))
    used = _used(airflow, daemons, bench.number(full=10, quick=1))
    runs = random.sample(airflow.database.run_ids(_HOLD), min(count, bench.number(full=200, quick=3)))
    status = [_status(airflow, run) for run in runs]
    following = [_following(airflow, pods) for _ in range(bench.number(full=4, quick=1))]
    level = _Level(pods.running(), ramp, _resident(airflow, daemons), used, status, following)
    bench.say(f"scale: {level}"[:2000])  # a long run that is ended before its end has said something
    return level


def _status(airflow: BenchAirflow, run: str) -> float:
    """Return how long the engine takes to say where an execution stands."""
    began = time.perf_counter()
    airflow.api.engine(f"/sops/{_HOLD}/executions/{quote(run, safe='')}/status")
    return time.perf_counter() - began


def _used(airflow: BenchAirflow, daemons: Daemons, seconds: float) -> dict[str, float]:
    """Return by component which part of a core it uses while all are held and nothing else happens."""
    before, began = _accounts(airflow, daemons), time.monotonic()
    time.sleep(seconds)
    used = difference(_accounts(airflow, daemons), before)
    return {name: value / (time.monotonic() - began) for name, value in used.items()}


def _accounts(airflow: BenchAirflow, daemons: Daemons) -> dict[str, float]:
    cluster = {name: daemons.process(name) for name in _CLUSTER}
    return airflow.accounts() | {name: tree_seconds(one.pid) for name, one in cluster.items() if one is not None}


def _following(airflow: BenchAirflow, pods: PodTimes) -> float:
    """Return the seconds from the end of an execution's first pod to the creation of its second."""
    known, last = set(pods.created), airflow.database.last_run()
    airflow.api.trigger(_NEXT, {})
    airflow.runs_over(_NEXT, last, 1, seconds=_SECONDS)
    new = {pods.labels[pod].get("sop/step"): pod for pod in set(pods.created) - known}
    return pods.created[new["second"]] - pods.ended[new["first"]]


def _resident(airflow: BenchAirflow, daemons: Daemons) -> dict[str, float]:
    """Return MiB by component: proportional set size, so that what forks share is counted once."""
    processes = airflow.processes()
    child = executor_child(processes["scheduler"])
    found = {name: _tree(psutil.Process(pid), without=child) for name, pid in processes.items()}
    found["executor child"] = _tree(child)
    for name in _CLUSTER:
        if (process := daemons.process(name)) is not None:
            found[name] = _tree(process)
    return found


def _tree(process: psutil.Process, *, without: psutil.Process | None = None) -> float:
    tree = [process, *process.children(recursive=True)]
    return sum(one.memory_full_info().pss for one in tree if one != without) / _MIB


def _table(levels: list[_Level], failed: int, drained: float) -> Table:
    rows: list[tuple[Cell, ...]] = [
        (
            f"{one.held:,} held", one.ramp, p50(one.status), p95(one.status), p99(one.status), p50(one.following),
            max(one.following),
        )
        for one in levels
    ]  # fmt: skip
    return Table(
        name="scale",
        title="Executions held at once by one scheduler and one executor process, seconds",
        columns=("executions", "ramp from the level before", "status query p50", "p95", "p99",
                 "step end to next pod p50", "worst"),
        rows=rows,
        notes=(
            f"all were let go at the end and were over after {drained:.0f} s; failed: {failed}",
            "everything shares one machine: Airflow, PostgreSQL, the cluster's control plane, the simulated nodes",
            "status query: of an execution that is held, chosen by chance, through the engine's API, one at a time",
            "goals while 4,000 run: status query p99 under 0.1 s, step end to next step p95 under 3 s",
        ),
    )  # fmt: skip


def _memory(levels: list[_Level]) -> Table:
    rows: list[tuple[Cell, ...]] = [(name, *(one.memory.get(name) for one in levels)) for name in levels[-1].memory]
    return Table(
        name="scale-memory",
        title="Memory of each component meanwhile, MiB",
        columns=("component", *(f"{one.held:,} held" for one in levels)),
        rows=rows,
        notes=("proportional set size of the whole process tree",),
    )


def _cpu(levels: list[_Level]) -> Table:
    names = [name for name in levels[-1].cpu if name != RUNNERS]
    rows: list[tuple[Cell, ...]] = [(name, *(one.cpu.get(name) for one in levels)) for name in names]
    return Table(
        name="scale-cpu",
        title="Processor time of each component meanwhile, CPU s a second",
        columns=("component", *(f"{one.held:,} held" for one in levels)),
        rows=rows,
        notes=("while nothing but holding happens",),
    )
