"""The engine's API server as production runs it, filled with executions that run.

No scheduler and no executor: they are other machines' in production, and what 4,000 runners would need is more than any
machine of this size has. The executions are real submissions through the API; where they stand is written by the
functions that the executor's child writes it with (`benchmarks.engine_facts`).
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType

from airflow_sop_provider.client.coordinator import ExecutionCoordinator
from benchmarks.airflow import listener
from benchmarks.bench import Bench, BenchmarkError
from benchmarks.cpu import tree_seconds
from benchmarks.documents import sop_text, write_documents
from tools.dev.environment import ROOT
from tools.dev.instance import ADMIN, Instance, component_environment
from tools.dev.processes import Component, end_components, start_component
from tools.dev.rest import AirflowApi
from tools.dev.supervisor import COMPONENTS, choose_port

__all__ = ["SOP", "EngineServer"]

SOP = "bench-1"
_CALLERS = 4
_START_SECONDS = 300.0
_WRITERS = 2


class EngineServer:
    """A context in which an API server runs and knows one SOP of ten steps.

    :param workers: processes of the server.
    """

    def __init__(self, bench: Bench, *, workers: int) -> None:
        self._bench = bench
        sops = write_documents(bench.folder("engine", "sops"), {"one.yaml": sop_text(1)})
        options = {
            "sop": {"paused_upon_creation": "False"},
            "api": {"workers": str(workers)},
        }
        home = bench.folder("engine", "airflow")
        self.instance = Instance(
            home=home, sops=sops, port=choose_port(None), database=bench.database(), overrides=options
        )
        self._components: dict[str, Component] = {}
        self.api = AirflowApi(self.instance.url, ADMIN, self.instance.password)

    def __enter__(self) -> EngineServer:
        self._bench.prepare(self.instance)
        try:
            self._start("api-server")
            self._start("dag-processor")
            self._wait(lambda: self.api.health() is not None and self.api.dag(SOP) is not None, f"DAG {SOP}")
            end_components([self._components.pop("dag-processor")], grace=20)
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.api.close()
        end_components(self._components.values(), grace=20)

    def cpu_seconds(self) -> dict[str, float]:
        """Return CPU seconds so far of the server and, where there is one, the database server."""
        found = {"API server": tree_seconds(self._components["api-server"].process.pid)}
        if self._bench.database_port is not None:
            found["PostgreSQL"] = tree_seconds(listener(self._bench.database_port))
        return found

    def submit(self, count: int) -> float:
        """Submit so many executions through the API; return the seconds it took."""
        began = time.monotonic()

        def some(number: int) -> None:
            password = self.instance.password
            with ExecutionCoordinator(self.instance.url, user=ADMIN, password=password) as coordinator:
                for _ in range(number):
                    coordinator.submit_execution(SOP)

        shares = [count // _CALLERS + (place < count % _CALLERS) for place in range(_CALLERS)]
        with ThreadPoolExecutor(_CALLERS) as pool:
            list(pool.map(some, [share for share in shares if share]))
        return time.monotonic() - began

    def begin(self) -> list[Path]:
        """Let every execution run; return the files with their run ids and the tokens of their runners."""
        return [Path(line) for line in self._facts("begin")]

    def plans(self) -> list[str]:
        """Return how the database answers each query of the status endpoint."""
        return self._facts("plans", parts=1)

    def token(self) -> str:
        """Return a bearer token of the administrator."""
        answer = self.api._send("POST", "/auth/token", json={"username": ADMIN, "password": self.instance.password})
        return str(answer.json()["access_token"])

    def _facts(self, what: str, parts: int = _WRITERS) -> list[str]:
        folder = self._bench.folder("engine", "facts")
        command = [sys.executable, "-m", "benchmarks.engine_facts", what, SOP, str(folder)]
        running = [
            subprocess.Popen(
                [*command, f"{part}/{parts}"], cwd=ROOT, stdout=subprocess.PIPE, text=True,
                env=component_environment(self.instance.home),
            )
            for part in range(parts)
        ]  # fmt: skip
        lines: list[str] = []
        for process in running:
            said, _ = process.communicate()
            if process.returncode:
                raise BenchmarkError(f"`{' '.join(command[1:])}` failed; what it said stands above")
            lines += json.loads(said.splitlines()[-1])
        return lines

    def _start(self, name: str) -> None:
        self._components[name] = start_component(
            name, [sys.executable, "-m", "airflow", *COMPONENTS[name]],  # as production does, its collector untouched
            environment=component_environment(self.instance.home), log=self.instance.logs / f"{name}.log",
        )  # fmt: skip

    def _wait(self, look: Callable[[], bool], what: str) -> None:
        limit = time.monotonic() + _START_SECONDS
        while not look():
            for component in self._components.values():
                if component.ended:
                    raise BenchmarkError(f"the {component.name} ended; see {component.log}")
            if time.monotonic() > limit:
                raise BenchmarkError(f"waited {_START_SECONDS:.0f} s for {what}")
            time.sleep(0.5)
