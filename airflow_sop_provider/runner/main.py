"""The runner's start: say that the attempt began, then load what it needs.

Order matters. The assignment's identity is read with the standard library and reported before
pydantic is imported, and the heartbeat runs before anything that could block.
"""

from __future__ import annotations

import gc
import json
import os
import signal
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from airflow_sop_provider.runner.environment import RunnerEnvironment, SetupError
from airflow_sop_provider.runner.event_shipper import EventShipper
from airflow_sop_provider.runner.heartbeat import Heartbeat
from airflow_sop_provider.runner.lines import EventLog, Log, Redactor

if TYPE_CHECKING:
    from airflow_sop_provider.contract.assignment import Assignment

__all__ = ["main", "run"]


def main() -> NoReturn:
    """Run one attempt and end the process with its exit code.

    Nothing is waited for: a thread stuck on a pipe must not keep a finished attempt alive.
    """
    os._exit(run())


def run() -> int:
    """Run the attempt the environment describes and return its exit code."""
    signal.signal(signal.SIGTERM, lambda *_: os._exit(128 + signal.SIGTERM))  # process 1 would ignore it by default
    started_at = datetime.now(UTC)
    redactor = Redactor()
    log = Log(redactor)
    try:
        environment = RunnerEnvironment.read()
    except SetupError as error:
        log.line("error", str(error))
        return os.EX_CONFIG
    document, problem = _document(environment.assignment)
    events = EventLog(environment.events, redactor, _identity(document))
    heartbeat = Heartbeat(events, environment.heartbeat_seconds)
    heartbeat.start()
    events.emit("attempt.begin", pid=os.getpid())
    if environment.engine_url is not None:
        EventShipper.to_engine(events.pending, environment.engine_url, environment.engine_token).start()
    gc.disable()  # imports make many objects and no garbage; collecting would cost a quarter more CPU
    try:
        return _run(document, problem, environment, log, events, redactor, started_at)
    finally:
        heartbeat.stop()


def _run(
    document: dict[str, Any],
    problem: str | None,
    environment: RunnerEnvironment,
    log: Log,
    events: EventLog,
    redactor: Redactor,
    started_at: datetime,
) -> int:
    from airflow_sop_provider.runner.attempt import Attempt
    from airflow_sop_provider.runner.reporting import Reporter
    from airflow_sop_provider.runner.step_context import StepContext

    reporter = Reporter(environment, log, events)
    assignment = _assignment(document) if problem is None else problem
    gc.enable()
    if isinstance(assignment, str):
        return _refuse(assignment, reporter, started_at)
    log.info(f"Step {assignment.payload.step_id}, attempt {assignment.key.attempt}", **_identity(document))
    context = StepContext(assignment, log, events, redactor, fleet=environment.fleet)
    return Attempt(context, reporter, started_at, environment.stop_grace_seconds).run()


def _document(path: Path) -> tuple[dict[str, Any], str | None]:
    """Return the assignment as JSON, and what is wrong with it."""
    try:
        document = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        return {}, f"The assignment {path.name} cannot be read: {error}"
    if isinstance(document, dict):
        return document, None
    return {}, f"The assignment {path.name} is not a JSON object."


def _identity(document: dict[str, Any]) -> dict[str, Any]:
    """Return what every event carries; works on a document that is not valid yet."""
    key = document.get("key")
    key = key if isinstance(key, dict) else {}
    return {
        "execution": f"{key.get('sop')}/{key.get('run_id')}",
        "step": key.get("step"),
        "map_index": key.get("map_index", -1),
        "attempt": key.get("attempt"),
    }


def _assignment(document: dict[str, Any]) -> Assignment | str:
    from pydantic import ValidationError

    from airflow_sop_provider.contract.assignment import Assignment

    try:
        return Assignment.model_validate(document)
    except ValidationError as error:
        return f"The assignment is not valid: {error}"


def _refuse(problem: str, reporter: Any, started_at: datetime) -> int:
    from airflow_sop_provider.contract.exit_codes import ErrorType
    from airflow_sop_provider.contract.verdict import Verdict, VerdictError

    error = VerdictError(type=ErrorType.PERMANENT, code="assignment-invalid", message=problem)
    reporter.report(
        Verdict(status="failed", error=error, started_at=started_at, ended_at=datetime.now(UTC)), os.EX_CONFIG
    )
    return os.EX_CONFIG
