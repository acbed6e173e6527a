"""Steps as pods of simulated nodes: our executor against KubernetesPodOperator, sync and deferrable.

API server, scheduler and watches are real; what is simulated are the kubelets, so that a container's own start, which
is the same for all three, does not hide what each way costs Airflow.
"""

from __future__ import annotations

import os
import random
import secrets
import time
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.airflow import BenchAirflow, Setup
from benchmarks.bench import Bench, BenchmarkError
from benchmarks.documents import COMMAND_SOP, pod_operator_dags_text
from benchmarks.pods import PodTimes, namespace, pod_template
from benchmarks.report import Cell, Table, p50, p95, ratio
from benchmarks.throughput import ACCOUNTS, Round, one_round
from tools.cluster.daemons import Daemons
from tools.cluster.layout import Layout
from tools.cluster.simulation import SIMULATION
from tools.dev.supervisor import FIRST_COMPONENTS

__all__ = ["check_cluster", "measure", "simulated_options"]

_WAYS = {
    "SOP step, SopExecutor": "bench-command",
    "KubernetesPodOperator": "bench-pod",
    "KubernetesPodOperator, deferrable": "bench-pod-deferrable",
}
_SECONDS = 1800.0


@dataclass
class _Probe:
    dag: str
    created: list[float] = field(default_factory=list)
    told: list[float] = field(default_factory=list)
    failed: int = 0


def measure(bench: Bench) -> list[Table]:
    """Measure the three ways, in turns."""
    check_cluster()
    count, rounds = bench.number(full=20, quick=2), bench.number(full=2, quick=1)
    with namespace(f"bench-{secrets.token_hex(4)}") as name:
        setup = Setup(
            sops={"command.yaml": COMMAND_SOP},
            dags=pod_operator_dags_text(name, str(Layout.default().kubeconfig)),
            options=simulated_options(bench, name),
            warm=(*_WAYS.values(), "bench-empty"),
            components=(*FIRST_COMPONENTS, "triggerer"),
        )
        with BenchAirflow(bench, setup, name="kubernetes") as airflow, PodTimes(name) as pods:
            found: dict[str, list[Round]] = {label: [] for label in (*_WAYS, "EmptyOperator, no pod")}
            dags = {**_WAYS, "EmptyOperator, no pod": "bench-empty"}
            probes = {label: _Probe(dag) for label, dag in _WAYS.items()}
            for turn in range(rounds):
                labels = list(dags)
                for label in labels[turn:] + labels[:turn]:
                    bench.say(f"kubernetes: round {turn + 1} of {rounds}, {label}")
                    found[label].append(one_round(airflow, dags[label], count, 0.0))
            for turn in range(bench.number(full=4, quick=1)):
                bench.say(f"kubernetes: one at a time, {turn + 1}")
                for probe in probes.values():
                    _one(airflow, pods, probe)
    return [_throughput(found, rounds, count), _components(found), _latency(probes)]


def check_cluster() -> None:
    """Raise `BenchmarkError` if there are no simulated nodes; otherwise everybody uses this cluster from now on."""
    layout = Layout.default()
    if any(Daemons(layout).process(name) is None for name in ("kube-apiserver", *SIMULATION)):
        raise BenchmarkError("there are no simulated nodes; run `make cluster-simulated` first")
    os.environ["KUBECONFIG"] = str(layout.kubeconfig)


def simulated_options(bench: Bench, name: str) -> dict[str, dict[str, str]]:
    """Return options of an Airflow whose steps are pods of simulated nodes."""
    template = Path(bench.folder("kubernetes-files"), "pod.yaml")
    template.write_text(pod_template())
    return {"sop": {"runtime": "kubernetes", "namespace": name, "pod_template_file": str(template)}}


def _one(airflow: BenchAirflow, pods: PodTimes, probe: _Probe) -> None:
    known, last = set(pods.created), airflow.database.last_run()
    sent = time.time()
    run = airflow.api.trigger(probe.dag, {})
    if airflow.runs_over(probe.dag, last, 1, seconds=_SECONDS).failed:
        probe.failed += 1  # the deferrable operator's do so sometimes, although the pod succeeds
        return
    (pod,) = airflow.wait_for(lambda: set(pods.created) - known, "the pod", seconds=60)
    ended = airflow.wait_for(lambda: pods.ended.get(pod), "the pod's end", seconds=60)
    done = airflow.database.step_end(probe.dag, run)
    if done is None:
        raise BenchmarkError(f"no step of {run} has an end")
    probe.created.append(pods.created[pod] - sent)
    probe.told.append(done.timestamp() - ended)
    time.sleep(random.uniform(0.5, 1.5))


def _throughput(found: dict[str, list[Round]], rounds: int, count: int) -> Table:
    totals = {label: p50([one.total for one in results]) for label, results in found.items()}
    speeds = {label: p50([one.per_minute for one in results]) for label, results in found.items()}
    ours, floor = next(iter(found)), list(found)[-1]
    rows: list[tuple[Cell, ...]] = [
        (
            label, speeds[label], ratio(speeds[ours], speeds[label]), totals[label], ratio(totals[label], totals[ours]),
            ratio(totals[label], totals[floor]), sum(one.failed for one in results),
        )
        for label, results in found.items()
    ]  # fmt: skip
    return Table(
        name="kubernetes",
        title=f"{count} executions of one step as a pod, submitted at once, simulated nodes",
        columns=("step", "executions a minute", "ours is x faster", "CPU s per step, Airflow", "x ours",
                 "x EmptyOperator", "failed"),
        rows=rows,
        notes=(
            f"median of {rounds} rounds in turns; a pod's program runs for one second",
            "API server and scheduler of the cluster are real and share the machine; their CPU time is not counted",
            "parallelism 32: more workers of the LocalExecutor than that do not fit into such a machine",
        ),
    )  # fmt: skip


def _components(found: dict[str, list[Round]]) -> Table:
    names = [name for name in ACCOUNTS if any(name in one.cpu for results in found.values() for one in results)]
    rows: list[tuple[Cell, ...]] = [
        (label, *(p50([one.cpu.get(name, 0.0) for one in results]) for name in names))
        for label, results in found.items()
    ]
    return Table(
        name="kubernetes-components",
        title="The same by component, CPU s per step",
        columns=("step", *names),
        rows=rows,
    )


def _latency(probes: dict[str, _Probe]) -> Table:
    rows: list[tuple[Cell, ...]] = [
        (label, p50(one.created), p95(one.created), p50(one.told), p95(one.told), one.failed)
        for label, one in probes.items()
    ]
    return Table(
        name="kubernetes-latency",
        title="One execution at a time, idle Airflow, seconds",
        columns=("step", "POST to pod created p50", "p95", "pod finished to task over p50", "p95", "failed"),
        rows=rows,
        notes=(
            f"{len(next(iter(probes.values())).created)} executions each that succeeded, in turns; the pod's times as a"
            " watch tells them, the task's as Airflow's database has it",
        ),
    )
