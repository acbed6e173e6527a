"""What `benchmarks.fleet` measures: a gateway as a service, a server behind it, executions that may call it."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType

import psutil
from sqlalchemy import create_engine
from sqlalchemy.orm import Session

from airflow_sop_provider.contract import AttemptKey
from airflow_sop_provider.engine.execution_context import context_of_sop
from airflow_sop_provider.engine.runner_tokens import key_of_secret, runner_token
from airflow_sop_provider.sop import check_text
from airflow_sop_provider.store.attempts import AttemptBegin, begin_attempt
from airflow_sop_provider.store.executions import RunFacts, open_execution
from benchmarks.bench import Bench, BenchmarkError
from benchmarks.cpu import tree_seconds
from benchmarks.fleet_server import NAME, TOOL
from tools.dev.environment import ROOT
from tools.dev.instance import Instance, component_environment
from tools.dev.processes import Component, end_components, start_component
from tools.dev.supervisor import choose_port

__all__ = ["FleetUnderTest"]

_SOP = f"""\
sop: bench-fleet
version: 1.0.0
title: Calls a tool
data_sources:
  data: {{server: {NAME}, tools: [{TOOL}]}}
steps:
  - id: call
    tool: data.{TOOL}
    arguments: {{text: hello}}
"""
_SOURCES = {"data": {"server": NAME, "tools": [TOOL]}}
_START_SECONDS = 120.0
_TOKEN_SECONDS = 7200.0
_CHUNK = 200


class FleetUnderTest:
    """A context in which the gateway (`sop fleet serve`) and one MCP server run."""

    def __init__(self, bench: Bench) -> None:
        self._server_port = choose_port(None)
        self._gateway_port = choose_port(self._server_port + 1)
        fleet = bench.folder("fleet") / "fleet.yaml"
        # the rate of a server is a limit to protect it; here it is to be reached
        server = {"transport": "http", "url": f"{self.server}/{NAME}/mcp", "max_calls_per_minute": 10_000_000}
        fleet.write_text(json.dumps({"servers": {NAME: server}}))
        self._instance = Instance(
            home=bench.folder("fleet", "airflow"), sops=bench.folder("fleet", "sops"), database=bench.database(),
            overrides={"sop": {"fleet_file": str(fleet)}},
        )  # fmt: skip
        self._bench = bench
        self._components: dict[str, Component] = {}

    @property
    def server(self) -> str:
        """Address of the server, as a runner would be given a gateway's."""
        return f"http://127.0.0.1:{self._server_port}"

    @property
    def gateway(self) -> str:
        """Address of the gateway."""
        return f"http://127.0.0.1:{self._gateway_port}/fleet"

    def __enter__(self) -> FleetUnderTest:
        self._bench.prepare(self._instance)
        try:
            self._start("server", ["python", "-m", "benchmarks.fleet_server", str(self._server_port)])
            self._start("gateway", ["sop", "fleet", "serve", "--port", str(self._gateway_port)])
            self._wait("gateway", f"http://127.0.0.1:{self._gateway_port}/health")
            self._wait("server", f"{self.server}/{NAME}/mcp")
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        end_components(self._components.values(), grace=20)

    def tokens(self, count: int, first: int = 0) -> list[str]:
        """Return tokens of attempts that run, each of an execution of its own, written as the engine writes them."""
        context = context_of_sop(check_text(_SOP).unwrap())
        secret = self._instance.options()["api_auth"]["jwt_secret"].replace("%%", "%")
        signing_key = key_of_secret(secret)
        made: list[str] = []
        engine = create_engine(self._instance.connection)
        try:
            for start in range(first, first + count, _CHUNK):
                with Session(engine) as session, session.begin():
                    for number in range(start, min(start + _CHUNK, first + count)):
                        key = _key(number)
                        facts = RunFacts(
                            sop=key.sop, run_id=key.run_id, run_type="manual", submitted_at=datetime.now(UTC),
                            requested_by="bench",
                        )  # fmt: skip
                        execution = open_execution(session, facts, context)
                        begin_attempt(session, execution, AttemptBegin(key=key, kind="step", data_sources=_SOURCES))
                        now = datetime.now(UTC)
                        made.append(runner_token(key, signing_key, timeout_seconds=_TOKEN_SECONDS, now=now))
        finally:
            engine.dispose()
        return made

    def cpu_seconds(self) -> dict[str, float]:
        """Return CPU seconds so far of gateway and server."""
        return {name: tree_seconds(component.process.pid) for name, component in self._components.items()}

    def memory_bytes(self) -> dict[str, int]:
        """Return the resident memory of gateway and server."""
        return {name: _resident(component.process.pid) for name, component in self._components.items()}

    def pin(self, name: str, cores: set[int]) -> None:
        """Let a process run on these cores only."""
        process = psutil.Process(self._components[name].process.pid)
        for one in (process, *process.children(recursive=True)):
            one.cpu_affinity(sorted(cores))

    def _start(self, name: str, command: list[str]) -> None:
        environment = {**component_environment(self._instance.home), "PYTHONPATH": str(ROOT)}
        self._components[name] = start_component(name, command, environment=environment, log=self._log(name))

    def _log(self, name: str) -> Path:
        return self._instance.logs / f"{name}.log"

    def _wait(self, name: str, address: str) -> None:
        until = time.monotonic() + _START_SECONDS
        while not _answers(address):
            if self._components[name].ended or time.monotonic() > until:
                raise BenchmarkError(f"the {name} does not come up: {self._log(name).read_text()[-500:]}")
            time.sleep(0.1)


def _key(number: int) -> AttemptKey:
    return AttemptKey(
        sop="bench-fleet", run_id=f"manual__{number}", step="call", attempt=1, task_instance_id=f"bench-{number}"
    )


def _answers(address: str) -> bool:
    try:
        urllib.request.urlopen(address, timeout=5)
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False
    return True


def _resident(pid: int) -> int:
    process = psutil.Process(pid)
    return sum(one.memory_info().rss for one in (process, *process.children(recursive=True)))
