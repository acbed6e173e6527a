"""What a folder of SOPs costs Airflow's dag-processor, against as many ordinary DAG files of the same shape.

The real `airflow dag-processor`, started anew for each pass, until the last DAG is in the database:
a folder it has never seen, then the same folder again. Wall and CPU time are those of the component and
the parsers it forks, its own start included; the part per file leaves the start out.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

from benchmarks.airflow import bundles, listener
from benchmarks.bench import Bench, BenchmarkError
from benchmarks.cpu import tree_seconds
from benchmarks.database import AirflowDatabase
from benchmarks.documents import python_text, sop_text, write_documents
from benchmarks.report import Cell, Table, ratio
from tools.dev.instance import Instance, component_environment
from tools.dev.logs import telling_line
from tools.dev.processes import Component, end_components, start_component

__all__ = ["measure"]

_POLL_SECONDS = 0.5  # the look is paid by the machine that is measured
_GIVE_UP_SECONDS = 3600.0
_GRACE_SECONDS = 15.0
_MINUTE = 60.0


@dataclass(frozen=True)
class _Pass:
    """Seconds from the component's start to the first DAGs seen and to the last one; CPU seconds likewise."""

    files: int
    first_files: int
    first_wall: float
    first_cpu: float
    wall: float
    cpu: float

    @property
    def cpu_per_file(self) -> float | None:
        """CPU seconds per file, the component's start left out."""
        rest = self.files - self.first_files
        return (self.cpu - self.first_cpu) / rest if rest else None


class _Folder:
    """Documents, and an Airflow that has never seen them."""

    def __init__(self, bench: Bench, label: str, kind: str, count: int) -> None:
        self.label, self.count = label, count
        home = bench.folder("dagprocessor", kind, "airflow")
        documents = bench.folder("dagprocessor", kind, "documents")
        if kind == "sops":
            write_documents(documents, {f"{n}.yaml": sop_text(n) for n in range(count)})
            configured = bundles(sops=str(documents))
        else:
            write_documents(documents, {f"{n}.py": python_text(n) for n in range(count)})
            configured = bundles(dags=str(documents))
        overrides = {"dag_processor": {"dag_bundle_config_list": configured}}
        self.instance = Instance(home=home, sops=documents, database=bench.database(), overrides=overrides)
        bench.prepare(self.instance)
        self._database_port = bench.database_port

    def parse(self) -> _Pass:
        """Start a dag-processor, wait for all DAGs, end it."""
        with self._component() as (component, started, database):
            return self._until_all(component, started, database)

    def rest(self, seconds: float) -> float:
        """Return CPU seconds per minute of a dag-processor that has nothing to do but look."""
        with self._component() as (component, started, database):
            self._until_all(component, started, database)
            time.sleep(2.0)
            began, before = time.monotonic(), self._cpu(component)
            time.sleep(seconds)
            return (self._cpu(component) - before) / (time.monotonic() - began) * _MINUTE

    @contextmanager
    def _component(self) -> Iterator[tuple[Component, float, AirflowDatabase]]:
        database = AirflowDatabase(self.instance.connection)
        command = [sys.executable, "-m", "tools.dev.component", "dag-processor"]
        environment = component_environment(self.instance.home)
        component = start_component(
            "dag-processor", command, environment=environment, log=self.instance.logs / "dag-processor.log"
        )
        try:
            yield component, time.time(), database
        finally:
            end_components([component], grace=_GRACE_SECONDS)
            database.close()

    def _until_all(self, component: Component, started: float, database: AirflowDatabase) -> _Pass:
        base = 0.0 if self._database_port is None else tree_seconds(listener(self._database_port))
        since, first = datetime.fromtimestamp(started, UTC), None
        while time.time() < started + _GIVE_UP_SECONDS:
            parsed = database.parsed_since(since)
            if parsed and first is None:
                first = (parsed, time.time() - started, self._cpu(component) - base)
            if first is not None and parsed >= self.count:
                return _Pass(self.count, *first, time.time() - started, self._cpu(component) - base)
            if component.ended:
                raise BenchmarkError(f"the dag-processor ended: {telling_line(component.log)}")
            time.sleep(_POLL_SECONDS)
            if errors := database.import_errors():
                raise BenchmarkError(f"a document of {self.label} cannot be loaded: {errors[0]}")
        raise BenchmarkError(f"the dag-processor had not read {self.label} after {_GIVE_UP_SECONDS:.0f} s")

    def _cpu(self, component: Component) -> float:
        """Return CPU seconds of the component, and of a database server since it runs."""
        server = 0.0 if self._database_port is None else tree_seconds(listener(self._database_port))
        return tree_seconds(component.process.pid) + server


def measure(bench: Bench) -> list[Table]:
    """Measure first and further passes over SOPs and over ordinary DAG files, in turns."""
    count = bench.number(full=1000, quick=30)
    others = bench.number(full=1000, quick=3)
    bench.say("dagprocessor: preparing")
    folders = [
        _Folder(bench, f"{count:,} SOPs", "sops", count),
        _Folder(bench, f"{others:,} DAG files of KubernetesPodOperators", "plain", others),
    ]
    passes: list[tuple[_Folder, str, _Pass]] = []
    for kind in ("first seen", "unchanged"):
        for folder in folders:
            bench.say(f"dagprocessor: {folder.label}, {kind}")
            passes.append((folder, kind, folder.parse()))
    bench.say("dagprocessor: at rest")
    rest = folders[0].rest(bench.number(full=60, quick=6))
    return [_table(passes, rest)]


def _table(passes: list[tuple[_Folder, str, _Pass]], rest: float) -> Table:
    ours = {kind: one.cpu_per_file for folder, kind, one in passes if folder is passes[0][0]}
    rows: list[tuple[Cell, ...]] = [
        (
            f"{folder.label}, {kind}", one.wall, one.cpu, one.first_wall, one.cpu_per_file,
            ratio(one.cpu_per_file, ours[kind]),
        )
        for folder, kind, one in passes
    ]  # fmt: skip
    return Table(
        name="dagprocessor",
        title="Airflow's dag-processor, ten steps per document",
        columns=("pass", "wall s", "CPU s", "of which to the first DAG, wall s", "CPU s per file", "x SOP"),
        rows=rows,
        notes=(
            "from the start of `airflow dag-processor` until the last DAG is in the database; CPU with all parsers",
            "per file: from the first DAG on, so without the component's start",
            "unchanged: a new dag-processor over the same folder and database, which has to read everything again",
            f"at rest, all documents read: {rest:.2f} CPU-s a minute, a look at the folder every 5 s included",
            "goals: 0.1 CPU-s per file and pass; 1,000 SOPs first seen in under 120 s",
        ),
    )
