"""Runs attempts: in this process where that is enough, as the real program where it is not."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from airflow_sop_provider.contract import Assignment, AttemptKey, StepPayload, Verdict
from airflow_sop_provider.runner.attempt import Attempt
from airflow_sop_provider.runner.environment import RunnerEnvironment
from airflow_sop_provider.runner.lines import EventLog, Log, Redactor
from airflow_sop_provider.runner.reporting import Reporter
from airflow_sop_provider.runner.step_context import StepContext

ROOT = Path(__file__).parents[2]


def make_assignment(step: dict[str, Any], **parts: Any) -> Assignment:
    """An assignment with just enough around ``step``; ``parts`` go to the payload or the assignment."""
    payload = {name: parts.pop(name) for name in list(parts) if name in StepPayload.model_fields and name != "inputs"}
    payload = {"kind": "step", "sop": "demo", "version": "1.0.0", "digest": "0" * 64, **payload}
    key = AttemptKey(
        sop="demo",
        run_id="manual__1",
        step="x",
        attempt=1,
        task_instance_id="0-0",
        map_index=parts.pop("map_index", -1),
    )
    return Assignment(key=key, payload=StepPayload(step={"id": "x", **step}, **payload), **parts)


@dataclass
class Result:
    """What one attempt left behind."""

    code: int
    verdict: Verdict | None
    events: list[dict[str, Any]]
    log: list[dict[str, Any]]
    folder: Path
    stderr: str = ""

    def event(self, name: str) -> dict[str, Any]:
        (found,) = [event for event in self.events if event["event"] == name]
        return found

    @property
    def failure(self) -> tuple[str, str, int]:
        assert self.verdict is not None
        assert self.verdict.error is not None
        return str(self.verdict.error.type), self.verdict.error.code, self.code

    @property
    def outputs(self) -> Any:
        assert self.verdict is not None
        assert self.verdict.error is None, self.verdict.error
        assert self.code == 0
        return self.verdict.outputs


def read_lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def read_verdict(path: Path) -> Verdict | None:
    return Verdict.model_validate_json(path.read_bytes()) if path.exists() else None


@pytest.fixture
def attempt(tmp_path: Path) -> Iterator[Callable[..., Result]]:
    """Run a step in this process, through the code a container runs."""
    before = signal.getsignal(signal.SIGTERM)

    def run(step: dict[str, Any], fleet: str | None = None, **parts: Any) -> Result:
        folder = tmp_path / f"attempt-{len(list(tmp_path.iterdir()))}"
        folder.mkdir()
        environment = RunnerEnvironment(
            assignment=folder / "assignment.json",
            verdict=folder / "verdict.json",
            termination_log=folder / "termination",
            events=folder / "events.jsonl",
            fleet=folder / "fleet.yaml" if fleet is not None else None,
        )
        if fleet is not None:
            (folder / "fleet.yaml").write_text(fleet)
        redactor = Redactor()
        descriptor = os.open(folder / "log.jsonl", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        log = Log(redactor, descriptor)
        events = EventLog(environment.events, redactor, {"execution": "demo/manual__1", "step": "x", "attempt": 1})
        context = StepContext(make_assignment(step, **parts), log, events, redactor, fleet=environment.fleet)
        code = Attempt(context, Reporter(environment, log, events), datetime.now(UTC), 1.0).run()
        os.close(descriptor)
        return Result(
            code,
            read_verdict(folder / "verdict.json"),
            read_lines(folder / "events.jsonl"),
            read_lines(folder / "log.jsonl"),
            folder,
        )

    yield run
    signal.signal(signal.SIGTERM, before)


class Program:
    """The runner as a process of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environment = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(ROOT),
            "SOP_STEP": str(folder / "assignment.json"),
            "SOP_VERDICT": str(folder / "verdict.json"),
            "SOP_TERMINATION_LOG": str(folder / "termination"),
            "SOP_EVENTS": str(folder / "events.jsonl"),
            "SOP_FLEET": str(folder / "fleet.yaml"),
        }

    def start(self, assignment: Assignment | str, fleet: str | None = None, **environment: str | None) -> Any:
        text = assignment if isinstance(assignment, str) else assignment.model_dump_json()
        (self.folder / "assignment.json").write_text(text)
        if fleet is not None:
            (self.folder / "fleet.yaml").write_text(fleet)
        merged = {**self.environment, **environment}
        return subprocess.Popen(
            [sys.executable, *self.arguments],
            env={name: value for name, value in merged.items() if value is not None},
            cwd=self.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    arguments: tuple[str, ...] = ("-m", "airflow_sop_provider.runner")

    def finish(self, process: Any) -> Result:
        stdout, stderr = process.communicate()
        return Result(
            process.returncode,
            read_verdict(self.folder / "verdict.json"),
            read_lines(self.folder / "events.jsonl"),
            [json.loads(line) for line in stdout.splitlines()],
            self.folder,
            stderr,
        )

    def run(self, assignment: Assignment | str, fleet: str | None = None, **environment: str | None) -> Result:
        return self.finish(self.start(assignment, fleet, **environment))


@pytest.fixture
def program(tmp_path: Path) -> Program:
    return Program(tmp_path)
