"""From an assignment to the attempt a runtime starts: program, environment, files, limits.

Executor and operator build the same `AttemptSpec`, so an attempt looks the same to its runner
whoever started it. Paths are given relative to the attempt's folder, which is the runner's
working folder; only the runtime knows where that is.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Protocol

from airflow_sop_provider.contract.assignment import Assignment
from airflow_sop_provider.contract.attempt import container_name
from airflow_sop_provider.runtimes.base import AttemptSpec

__all__ = ["ASSIGNMENT_FILE", "EVENTS_FILE", "TERMINATION_FILE", "VERDICT_FILE", "attempt_spec"]

ASSIGNMENT_FILE = "assignment.json"
VERDICT_FILE = "verdict.json"
EVENTS_FILE = "events.jsonl"
TERMINATION_FILE = "termination.json"

RUNNER_MODULE = "airflow_sop_provider.runner"


class AttemptSettings(Protocol):
    """The part of the settings an attempt depends on."""

    @property
    def fleet_file(self) -> Path:
        """MCP servers a step may reach."""


def attempt_spec(assignment: Assignment, settings: AttemptSettings) -> AttemptSpec:
    """Return the attempt that carries out ``assignment`` with our runner in this Python.

    The environment is the whole of what the runner is told by environment: a runtime starts an
    attempt with nothing else of ours, so no secret of Airflow's process reaches it.
    """
    payload, key = assignment.payload, assignment.key
    return AttemptSpec(
        name=container_name(key),
        argv=(sys.executable, "-m", RUNNER_MODULE),
        env={
            "SOP_STEP": ASSIGNMENT_FILE,
            "SOP_VERDICT": VERDICT_FILE,
            "SOP_EVENTS": EVENTS_FILE,
            "SOP_TERMINATION_LOG": TERMINATION_FILE,
            "SOP_FLEET": str(settings.fleet_file),
        },
        files={ASSIGNMENT_FILE: assignment.model_dump_json(exclude_none=True).encode()},
        memory_bytes=payload.memory_bytes,
        timeout_seconds=payload.timeout_seconds,
        labels=_labels(assignment),
    )


def _labels(assignment: Assignment) -> dict[str, str]:
    key, payload = assignment.key, assignment.payload
    labels = {
        "sop": key.sop,
        "execution": key.run_id,
        "step": key.step,
        "attempt": str(key.attempt),
        "map_index": str(key.map_index),
        "task_instance": key.task_instance_id,
    }
    return labels | ({"control": payload.control} if payload.control else {})
