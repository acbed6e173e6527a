"""CPU time to turn a document of ten steps into a DAG: ours, dag-factory's, and Python's without any document.

Each contender runs in a process of its own, in turns, with a warm-up that pays for the imports. The
same shape for all, the same operator where it can be: our steps are `SopStepOperator`, a subclass of
the `KubernetesPodOperator` that the others use; dag-factory is also given BashOperators, its cheapest.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from benchmarks.bench import Bench, BenchmarkError
from benchmarks.build_worker import BATCH, WARM_UP, Figures
from benchmarks.documents import dag_factory_text, python_text, sop_text, write_documents
from benchmarks.report import Cell, Table, p50, ratio
from tools.dev.environment import ROOT
from tools.dev.instance import Instance, component_environment

__all__ = ["measure"]

_MILLI = 1000.0
_DAG_FACTORY_PYTHON = "DAG_FACTORY_PYTHON"
"""Environment variable: the interpreter that has dag-factory, where it is not this one."""
_WITHOUT = f"without dag-factory: use `make bench`, or set {_DAG_FACTORY_PYTHON} to an interpreter that has it"


@dataclass(frozen=True)
class _Contender:
    label: str
    worker: str
    python: str
    suffix: str
    text: Callable[[int], str]


def measure(bench: Bench) -> list[Table]:
    """Measure every contender, in turns; dag-factory only where it is installed, which the table then says."""
    contenders = _contenders()
    rounds, count = bench.number(full=5, quick=1), bench.number(full=100, quick=4)
    instance = Instance(home=bench.folder("build"), sops=bench.work)
    instance.prepare()
    environment = component_environment(instance.home)
    found: dict[str, list[Figures]] = {one.label: [] for one in contenders}
    for turn in range(rounds):
        for position in range(len(contenders)):
            one = contenders[(turn + position) % len(contenders)]
            folder = _write(bench, one, turn, count)
            bench.say(f"build: round {turn + 1} of {rounds}, {one.label}")
            found[one.label].append(_run(one, folder, environment))
    return [_cold_and_unchanged(contenders, found, rounds, count), _parts(found[contenders[0].label])]


def _contenders() -> list[_Contender]:
    other = os.environ.get(_DAG_FACTORY_PYTHON) or sys.executable
    version = _dag_factory_version(other)
    factory = (
        []
        if version is None
        else [
            _Contender(
                f"dag-factory {version}, {operator}s",
                "dag-factory",
                other,
                ".yaml",
                partial(dag_factory_text, operator=operator),
            )
            for operator in ("KubernetesPodOperator", "BashOperator")
        ]
    )
    return [
        _Contender("SOP, SopStepOperators", "sop", sys.executable, ".yaml", sop_text),
        *factory,
        _Contender("Python DAG, KubernetesPodOperators", "python", sys.executable, ".py", python_text),
    ]


def _dag_factory_version(python: str) -> str | None:
    program = "from importlib.metadata import version; print(version('dag-factory'))"
    done = subprocess.run([python, "-c", program], capture_output=True, text=True, check=False)
    return None if done.returncode else done.stdout.strip()


def _write(bench: Bench, one: _Contender, turn: int, count: int) -> Path:
    folder = bench.folder("build", f"{one.label.replace(' ', '-')}-{turn}", "documents")
    # half of an SOP's documents are for the parts, see the worker
    first, size = turn * 10_000, WARM_UP + count * (2 if one.worker == "sop" else 1)
    return write_documents(folder, {f"{n}{one.suffix}": one.text(n) for n in range(first, first + size)})


def _run(one: _Contender, folder: Path, environment: dict[str, str]) -> Figures:
    command = [one.python, "-m", "benchmarks.build_worker", one.worker, str(folder)]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise BenchmarkError(f"{one.label} failed:\n{done.stderr[-3000:]}")
    result: Figures = json.loads(done.stdout.splitlines()[-1])
    return result


def _median(results: list[Figures], key: str) -> float:
    return (p50([value for result in results for value in result[key]]) or 0.0) * _MILLI


def _cold_and_unchanged(
    contenders: list[_Contender], found: dict[str, list[Figures]], rounds: int, count: int
) -> Table:
    ours = found[contenders[0].label]
    cold_base, again_base = _median(ours, "cold"), _median(ours, "again")
    rows: list[tuple[Cell, ...]] = []
    for one in contenders:
        cold, again = _median(found[one.label], "cold"), _median(found[one.label], "again")
        rows.append((
            one.label, cold, ratio(cold, cold_base), again, ratio(again, again_base),
            _median(found[one.label], "serialize"),
        ))  # fmt: skip
    return Table(
        name="build",
        title="Ten steps: load, validate and build, CPU ms per document",
        columns=("contender", "cold", "cold, x SOP", "unchanged", "unchanged, x SOP", "Airflow's serialisation"),
        rows=rows,
        notes=(
            f"{rounds} rounds in turns, each {count} documents after a warm-up; process CPU time",
            f"median over all batches of {BATCH} documents: a host's pauses are charged to whoever runs",
            "cold: a document never seen; unchanged: the same documents again in the same process",
            "only the SOP is validated: expressions compiled, references, schemas and the graph checked",
            "serialisation follows in every dag-processor, whoever built the DAG; it is in neither of the two",
            "goals: 8 ms cold, 1 ms unchanged",
            *(() if any(one.worker == "dag-factory" for one in contenders) else (_WITHOUT,)),
        ),
    )


def _parts(ours: list[Figures]) -> Table:
    return Table(
        name="build-parts",
        title="The same for an SOP, part by part, CPU ms per document",
        columns=("part", "CPU ms"),
        rows=[
            ("load and validate (load_sop)", _median(ours, "load")),
            ("build (build_dag)", _median(ours, "build")),
            ("unchanged, parsed again by the same process (dag_of_file)", _median(ours, "again")),
            ("unchanged, the bundle's look at its folder (SopBundle.refresh)", _median(ours, "pass")),
        ],
        notes=("an unchanged document is not parsed again at all: its stub does not change",),
    )
