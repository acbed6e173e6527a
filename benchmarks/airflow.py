"""The Airflow in which executions are measured: what `make run` starts, plus the DAGs to compare with."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from types import TracebackType
from typing import TypeVar

import psutil

from benchmarks import cpu
from benchmarks.bench import Bench, BenchmarkError
from benchmarks.database import AirflowDatabase, Runs
from benchmarks.documents import COMMAND_SOP, SLEEP_SOP, operator_dags_text, write_documents
from benchmarks.noop_executor import ALIAS, CLASSPATH
from tools.dev.instance import EXECUTORS, Instance
from tools.dev.rest import AirflowApi
from tools.dev.supervisor import FIRST_COMPONENTS, LocalAirflow, SupervisorError

__all__ = ["BenchAirflow", "Setup", "bundles", "listener"]

T = TypeVar("T")

_POLL_SECONDS = 0.25
_WARM_UP_RUNS = 2
_DAGS = ("bench-command", "bench-bash", "bench-clock", "bench-empty", "bench-noop")


@dataclass(frozen=True, kw_only=True)
class Setup:
    """What is measured in an Airflow.

    :param sops: documents by file name.
    :param dags: text of the DAG file of the contenders.
    :param options: options that differ, section -> option -> value.
    :param warm: DAGs that run before anything is measured.
    :param present: further DAGs that have to be there.
    :param components: of Airflow.
    """

    sops: Mapping[str, str]
    dags: str
    options: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    warm: tuple[str, ...] = ()
    present: tuple[str, ...] = ()
    components: tuple[str, ...] = FIRST_COMPONENTS


def _executions() -> Setup:
    return Setup(
        sops={"command.yaml": COMMAND_SOP, "sleep.yaml": SLEEP_SOP},
        dags=operator_dags_text(),
        warm=_DAGS,
        present=("bench-sleep", "bench-wait"),
    )


class BenchAirflow:
    """A context in which Airflow runs, warm, with the DAGs of ``setup``.

    :param setup: what to measure; by default the DAGs of `documents`.
    :param name: of its folder.
    :raises SupervisorError: a component ended, on entering and in every call that waits.
    """

    def __init__(self, bench: Bench, setup: Setup | None = None, *, name: str = "executions") -> None:
        self._setup = setup = setup or _executions()
        sops = write_documents(bench.folder(name, "sops"), dict(setup.sops))
        dags = write_documents(bench.folder(name, "dags"), {"operators.py": setup.dags})
        options = {section: dict(values) for section, values in setup.options.items()}
        options["core"] = {"executor": f"{EXECUTORS},{ALIAS}:{CLASSPATH}", **options.get("core", {})}
        options["sop"] = {"paused_upon_creation": "False", **options.get("sop", {})}
        options["dag_processor"] = {"dag_bundle_config_list": bundles(sops=str(sops), dags=str(dags))}
        instance = Instance(home=bench.folder(name, "airflow"), sops=sops, database=bench.database(), overrides=options)
        bench.prepare(instance)
        self._local = LocalAirflow(instance)
        self._database_port = bench.database_port
        self.logs = instance.logs
        self.database = AirflowDatabase(instance.connection)

    def __enter__(self) -> BenchAirflow:
        self._local.__enter__()
        try:
            self._local.wait_until_ready(self._setup.components)
            self._warm_up()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.database.close()
        self._local.__exit__(kind, error, trace)

    @property
    def api(self) -> AirflowApi:
        """The REST API, one connection."""
        return self._local.api

    def client(self) -> AirflowApi:
        """Return another connection to the REST API, for another thread; close it."""
        instance = self._local.instance
        return AirflowApi(instance.url, "admin", instance.password)

    def accounts(self) -> dict[str, float]:
        """Return the CPU seconds of every component so far; see `cpu.sample`."""
        return cpu.sample(self.processes())

    def processes(self) -> dict[str, int]:
        """Return the process of every component, that of the database server included."""
        components = {name: component.process.pid for name, component in self._local.components.items()}
        if self._database_port is not None:
            components["database"] = listener(self._database_port)
        return components

    def runs_over(self, dag: str, last_run: int, count: int, *, seconds: float) -> Runs:
        """Return the executions of a DAG newer than ``last_run`` once ``count`` of them are over."""

        def look() -> Runs | None:
            runs = self.database.runs_since(dag, last_run)
            return runs if runs.over >= count else None

        return self.wait_for(look, f"{count} executions of {dag}", seconds=seconds)

    def step_pids(self) -> list[int]:
        """Return the ids of the processes of SOP steps that run."""
        return cpu.busy_children(self._local.components["scheduler"].process.pid)

    def settle(self, seconds: float) -> None:
        """Return once no runner is left, and ``seconds`` later, when components have done what they do after."""
        self.wait_for(lambda: not self.step_pids(), "runners to end", seconds=120)
        time.sleep(seconds)

    def wait_for(self, look: Callable[[], T | None], what: str, *, seconds: float) -> T:
        """Return what ``look`` returns as soon as that is true.

        :raises BenchmarkError: it is not for ``seconds`` seconds.
        """
        limit = time.monotonic() + seconds
        while time.monotonic() < limit:
            self._local.check()
            if found := look():
                return found
            time.sleep(_POLL_SECONDS)
        raise BenchmarkError(f"waited {seconds:.0f} s for {what}")

    def _warm_up(self) -> None:
        """First calls load code and fork workers; no measurement should pay for that."""
        for dag in (*self._setup.warm, *self._setup.present):
            self.wait_for(partial(self.api.dag, dag), f"DAG {dag}", seconds=300)
        if errors := self.database.import_errors():
            raise SupervisorError(errors[0])
        for dag in self._setup.warm:
            last = self.database.last_run()
            for _ in range(_WARM_UP_RUNS):
                self.api.trigger(dag, {})
            runs = self.runs_over(dag, last, _WARM_UP_RUNS, seconds=300)
            if runs.failed:
                raise BenchmarkError(f"{runs.failed} of {_WARM_UP_RUNS} executions of {dag} failed in the warm-up")


def bundles(*, sops: str | None = None, dags: str | None = None) -> str:
    """Return ``dag_bundle_config_list`` for a folder of SOPs, a folder of DAG files, or both."""
    found: list[Mapping[str, object]] = []
    if sops is not None:
        classpath = "airflow_sop_provider.bundles.sop_bundle.SopBundle"
        found.append({"name": "sops", "classpath": classpath, "kwargs": {"path": sops, "refresh_interval": 5}})
    if dags is not None:
        classpath = "airflow.dag_processing.bundles.local.LocalDagBundle"
        found.append({"name": "dags", "classpath": classpath, "kwargs": {"path": dags}})
    return json.dumps(found)


def listener(port: int) -> int:
    """Return the process that listens on a TCP port of this host.

    :raises BenchmarkError: none does.
    """
    for connection in psutil.net_connections("tcp4"):
        listens = connection.status == psutil.CONN_LISTEN and tuple(connection.laddr)[1:] == (port,)
        if listens and connection.pid:
            return connection.pid
    raise BenchmarkError(f"nothing listens on port {port}")
