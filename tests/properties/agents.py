"""Agents on generated SOPs: real ADK, a scripted model that follows the SOP, data sources that answer at once."""

from __future__ import annotations

import json
import os
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from airflow_sop_provider.contract import Assignment, AttemptKey, StepPayload, Verdict
from airflow_sop_provider.engine.payloads import sop_payload
from airflow_sop_provider.runner.attempt import Attempt
from airflow_sop_provider.runner.environment import RunnerEnvironment
from airflow_sop_provider.runner.lines import EventLog, Log, Redactor
from airflow_sop_provider.runner.reporting import Reporter
from airflow_sop_provider.runner.step_context import StepContext
from airflow_sop_provider.sop import LoadedSop, check_text


def load(text: str) -> LoadedSop:
    loaded = check_text(text, Path("generated.yaml")).loaded
    assert loaded is not None
    return loaded


def inputs_of(loaded: LoadedSop) -> dict[str, Any]:
    given = {"pattern": "V-123456"}
    return {name: schema.get("default", given["pattern"]) for name, schema in loaded.sop.inputs.items()}


KINDS = ("compute", "decision", "agent", "tool")

UNFIT = ("outputs-schema", "expression", "agent-loop")
"""Ways in which a generated SOP cannot be done: a schema that no answer here fits, an expression over nothing."""


def finished(text: str) -> tuple[LoadedSop, Verdict, list[dict[str, Any]]] | None:
    """Have one agent carry out an SOP; None if it is one that cannot be done."""
    loaded = load(text)
    answers = {step.id: {} for step in loaded.sop.steps if step.agent is not None}
    verdict, events = carry_out(loaded, {"answers": answers})
    assert events[-1]["event"] == "attempt.end"
    if verdict.error is not None:
        assert verdict.error.code in UNFIT, verdict.error
        return None
    return loaded, verdict, events


def carry_out(loaded: LoadedSop, script: dict[str, Any] | None = None) -> tuple[Verdict, list[dict[str, Any]]]:
    """Have one agent carry out an SOP; return its verdict and events."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "script.yaml").write_text(json.dumps(script or {}))
        payload = sop_payload(loaded)
        agent = {**(payload.agent or {}), "model": f"scripted:{folder}/script.yaml"}
        payload = StepPayload.model_validate({**payload.model_dump(), "agent": agent})
        key = AttemptKey(sop=loaded.sop.sop, run_id="r", step="agent", attempt=1, task_instance_id="0-0")
        execution = {"id": f"{loaded.sop.sop}/r", "run_id": "r"}
        work = Assignment(key=key, payload=payload, inputs=inputs_of(loaded), execution=execution)
        environment = RunnerEnvironment(folder / "assignment", folder / "verdict", None, folder / "events", None)
        redactor = Redactor()
        descriptor = os.open(os.devnull, os.O_WRONLY)
        log, events = Log(redactor, descriptor), EventLog(environment.events, redactor, {"step": "agent"})
        context = StepContext(work, log, events, redactor, call=lambda *_: {"x": 1})
        Attempt(context, Reporter(environment, log, events), datetime.now(UTC), 1.0).run()
        os.close(descriptor)
        lines = (folder / "events").read_text().splitlines()
        return Verdict.model_validate_json((folder / "verdict").read_bytes()), [json.loads(line) for line in lines]
