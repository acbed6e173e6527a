"""A real Airflow for tests: every component a process of its own, as in production.

Built on what `make run` starts (`tools.dev`), so the tests exercise the same configuration. Components
can be killed and started again one by one.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import httpx
import psutil
from sqlalchemy import create_engine, text

from tests.integration.postgres_server import PostgresServer
from tools.dev.environment import ROOT
from tools.dev.instance import ADMIN, Instance, component_environment
from tools.dev.processes import Component, end_components, start_component
from tools.dev.rest import AirflowApi, StepState
from tools.dev.supervisor import COMPONENTS

T = TypeVar("T")

SOPS = Path(__file__).parent / "sops"
FINAL = {"success", "failed"}
_PATIENCE_SECONDS = 400
"""How long a test waits: how fast a shared machine is today is not what these tests are about."""
_EXECUTOR_TITLES = ("airflow_sop_provider.executors.child", "airflow sop executor")


class AirflowSystem:
    """One Airflow in a folder of its own.

    :param database: SQLAlchemy URL; empty for SQLite.
    """

    def __init__(
        self,
        home: Path,
        *,
        sops: Path = SOPS,
        fleet: Path = ROOT / "fleet.yaml",
        database: str = "",
        overrides: Mapping[str, Mapping[str, str]] | None = None,
        schedulers: int = 1,
    ) -> None:
        options = {
            "sop": {"paused_upon_creation": "False", "refresh_seconds": "2"},
            "scheduler": {"scheduler_idle_sleep_time": "1"},  # an idle scheduler of 0.1 takes a third of a slow core
            **(overrides or {}),
        }
        self.instance = Instance(
            home=home, sops=sops, fleet=fleet, port=_free_port(), database=database, overrides=options
        )
        self.home = home
        self.components: dict[str, Component] = {}
        self._usual = ["api-server", "dag-processor", *(_numbered("scheduler", n) for n in range(schedulers))]
        self._options: dict[str, Mapping[str, str]] = {}
        self._killed: list[int] = []
        self.postgres: PostgresServer | None = None
        self.api = AirflowApi(self.instance.url, ADMIN, self.instance.password)

    @property
    def task_logs(self) -> Path:
        """Folder of the tasks' logs."""
        return Path((self.instance.overrides or {}).get("logging", {}).get("base_log_folder", self.instance.logs))

    # -- life ------------------------------------------------------------------------------------

    def start(self) -> None:
        self.instance.prepare()
        self.instance.migrate()
        for name in self._usual:
            self.start_component(name)
        self.wait_for(lambda: self._healthy(), "Airflow to be healthy", seconds=1200)

    def as_started(self) -> None:
        """Undo what a test did to the components: a start costs a minute, so no test does it for the next one."""
        self.start_what_ended()
        for name in self._usual:
            if name not in self.components:
                self.start_component(name)
            elif self._options[name]:
                self.restart(name)

    def _healthy(self) -> bool:
        health = self.api.health()
        return health is not None and all(
            health.components.get(name, (None, None))[0] == "healthy" for name in ("scheduler", "dag_processor")
        )

    def start_component(self, name: str, **options: str) -> Component:
        """Start a component, with options of airflow.cfg for it alone: ``core__executor="LocalExecutor"``.

        :param name: such as ``scheduler``, and ``scheduler-1`` for the second of them.
        """
        kind = name.rstrip("0123456789").rstrip("-")
        environment = component_environment(self.instance.home)
        environment["PYTHONPATH"] = os.pathsep.join([str(Path.cwd()), environment.get("PYTHONPATH", "")])
        environment |= {f"AIRFLOW__{name.upper()}": value for name, value in options.items()}
        command = [sys.executable, "-m", "tools.dev.component", *COMPONENTS[kind]]
        component = start_component(name, command, environment=environment, log=self.instance.logs / f"{name}.log")
        self.components[name] = component
        self._options[name] = options
        return component

    def stop(self) -> None:
        end_components(self.components.values(), grace=30)
        for group in self._killed:  # what a killed component had started: log server, workers
            with contextlib.suppress(ProcessLookupError):
                os.killpg(group, signal.SIGKILL)
        for pid in self.attempt_processes():
            _kill(pid, signal.SIGKILL)
        self.api.close()

    def kill(self, name: str) -> None:
        """kill -9 of a component's main process and nothing else."""
        component = self.components.pop(name)
        os.kill(component.process.pid, signal.SIGKILL)
        component.process.wait()
        self._killed.append(component.process.pid)

    def restart(self, name: str, **options: str) -> None:
        """End a component as an administrator does, and start it with other options; see `start_component`."""
        end_components([self.components.pop(name)], grace=30)
        self.start_component(name, **options)

    def start_what_ended(self) -> list[str]:
        """Start again what ended by itself, as whoever supervises Airflow does; return the names."""
        ended = [name for name, component in self.components.items() if component.ended]
        for name in ended:
            self._killed.append(self.components[name].process.pid)  # what it had started may still be there
            self.start_component(name, **self._options[name])
        return ended

    def executor_children(self) -> list[int]:
        """Process ids of the executors' children of the schedulers that run."""
        schedulers = [c.process.pid for name, c in self.components.items() if name.startswith("scheduler")]
        return [
            child.pid
            for pid in schedulers
            for child in psutil.Process(pid).children()
            if any(title in " ".join(_cmdline(child)) for title in _EXECUTOR_TITLES)
        ]

    def attempt_processes(self) -> list[int]:
        """Process ids of everything that belongs to an attempt of a step of this Airflow."""
        marker = str(self.home / "sop" / "attempts").encode()
        found = []
        for entry in os.listdir("/proc"):
            if entry.isdigit():
                try:
                    if marker in Path(f"/proc/{entry}/environ").read_bytes():
                        found.append(int(entry))
                except OSError:
                    continue
        return found

    def wait_until_quiet(self) -> None:
        """Wait until nothing of any attempt runs."""
        self.wait_for(lambda: not self.attempt_processes(), "all steps' processes to end")

    # -- use -------------------------------------------------------------------------------------

    def wait_for_dag(self, sop: str) -> None:
        self.wait_for(lambda: self.api.dag(sop) is not None, f"DAG {sop}")

    def trigger(self, sop: str, **conf: Any) -> str:
        self.wait_for_dag(sop)
        return self.api.trigger(sop, conf)

    def run(self, sop: str, *, seconds: float = _PATIENCE_SECONDS, **conf: Any) -> tuple[str, str]:
        """Trigger and wait; return the run id and its state."""
        run = self.trigger(sop, **conf)
        return run, self.wait_for_run(sop, run, seconds=seconds)

    def wait_for_run(self, sop: str, run: str, *, seconds: float = _PATIENCE_SECONDS) -> str:
        return self.wait_for(lambda: self._final(sop, run), f"{sop} {run} to end", seconds=seconds)

    def _final(self, sop: str, run: str) -> str | None:
        state = self.api.run_state(sop, run)
        return state if state in FINAL else None

    def step(self, sop: str, run: str, step: str, map_index: int = -1) -> StepState:
        return next(s for s in self.api.steps(sop, run) if s.step == step and s.map_index == map_index)

    def step_states(self, sop: str, run: str) -> dict[str, str]:
        return {step.label: step.state for step in self.api.steps(sop, run)}

    def wait_for_step(self, sop: str, run: str, step: str, state: str) -> StepState:
        def look() -> StepState | None:
            found = [s for s in self.api.steps(sop, run) if s.step == step and s.state == state]
            return found[0] if found else None

        return self.wait_for(look, f"{sop}.{step} to be {state}")

    def request(self, method: str, path: str, **arguments: Any) -> httpx.Response:
        """A call of the REST API for which `AirflowApi` has no method."""
        return self.api._send(method, path, allow=(400, 404, 409, 422), repeatable=True, **arguments)

    def query(self, statement: str, **parameters: Any) -> list[tuple[Any, ...]]:
        """Rows of the metadata database, for what no API shows."""
        engine = create_engine(self.instance.connection)
        try:
            with engine.connect() as connection:
                return [tuple(row) for row in connection.execute(text(statement), parameters)]
        finally:
            engine.dispose()

    def execute(self, statement: str, **parameters: Any) -> None:
        """Change the metadata database, as only an administrator of it can."""
        engine = create_engine(self.instance.connection)
        try:
            with engine.begin() as connection:
                connection.execute(text(statement), parameters)
        finally:
            engine.dispose()

    def log_lines(self, sop: str, run: str, step: str, map_index: int = -1) -> list[str]:
        return self.api.log(sop, run, self.step(sop, run, step, map_index))

    def wait_for(self, look: Callable[[], T | None], what: str, *, seconds: float = _PATIENCE_SECONDS) -> T:
        limit = time.monotonic() + seconds
        while time.monotonic() < limit:
            self._raise_if_dead()
            try:
                if found := look():
                    return found
            except httpx.TransportError:
                pass
            time.sleep(1)
        raise AssertionError(f"waited {seconds} s for {what}\n{self._tails()}")

    def _raise_if_dead(self) -> None:
        for name, component in self.components.items():
            if component.ended:
                raise AssertionError(f"{name} ended with {component.process.returncode}\n{self._tails()}")

    def _tails(self) -> str:
        logs = sorted(self.instance.logs.glob("*.log"))
        return "\n".join(
            f"--- {log.name}\n" + "\n".join(log.read_text(errors="replace").splitlines()[-25:]) for log in logs
        )


def _numbered(kind: str, number: int) -> str:
    return f"{kind}-{number}" if number else kind


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _cmdline(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []


def _kill(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def read_json_lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]
