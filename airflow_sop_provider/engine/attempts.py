"""From an assignment to the attempt a runtime starts: program, files, limits, labels.

Executor and operator build the same `AttemptSpec`, so an attempt looks the same to its runner
whoever started it. Where the files end up is the runtime's affair; it tells the runner.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Protocol

from airflow_sop_provider.contract.assignment import Assignment
from airflow_sop_provider.contract.attempt import container_name
from airflow_sop_provider.runner.agents.site import MODELS_FILE
from airflow_sop_provider.runtimes.base import ASSIGNMENT_FILE, FLEET_FILE, AttemptSpec

__all__ = ["RUNNER_MODULE", "AttemptSettings", "attempt_spec"]

RUNNER_MODULE = "airflow_sop_provider.runner"


class AttemptSettings(Protocol):
    """The part of the settings an attempt depends on."""

    @property
    def fleet_file(self) -> Path:
        """MCP servers a step may reach; need not exist."""


def attempt_spec(assignment: Assignment, settings: AttemptSettings) -> AttemptSpec:
    """Return the attempt that carries out ``assignment`` with our runner in this Python.

    :raises OSError: a file of the site exists and cannot be read.
    """
    payload = assignment.payload
    image = _image(assignment)
    # what runs in an image of the author's choice reaches no data source, so it need not know the servers
    fleet = {} if image else _site_files(assignment, settings)
    return AttemptSpec(
        name=container_name(assignment.key),
        argv=(sys.executable, "-m", RUNNER_MODULE),
        files={ASSIGNMENT_FILE: assignment.model_dump_json(exclude_none=True).encode(), **fleet},
        memory_bytes=payload.memory_bytes,
        cpu_millis=payload.cpu_millis,
        timeout_seconds=payload.timeout_seconds,
        labels=_labels(assignment),
        image=image,
    )


def _image(assignment: Assignment) -> str | None:
    """Return the image that a ``command`` names; only its own task runs in it, not the one that lists its items."""
    command = assignment.payload.step.get("command") if assignment.payload.kind in ("step", "rollback") else None
    image = command.get("image") if isinstance(command, dict) else None
    return str(image) if image else None


def _site_files(assignment: Assignment, settings: AttemptSettings) -> dict[str, bytes]:
    """Return the fleet file and, for agents, the file of models beside it; neither need exist."""
    payload = assignment.payload
    asks = payload.kind == "agent_centric" or any(payload.step.get(kind) for kind in ("agent", "decision"))
    files = {FLEET_FILE: settings.fleet_file}
    if asks:
        files[MODELS_FILE] = settings.fleet_file.with_name(MODELS_FILE)
    return {name: path.read_bytes() for name, path in files.items() if path.exists()}


def _labels(assignment: Assignment) -> dict[str, str]:
    key, control = assignment.key, assignment.payload.control
    labels = {
        "sop": key.sop,
        "execution": key.run_id,
        "step": key.step,
        "map_index": str(key.map_index),
        "attempt": str(key.attempt),
        "task_instance": key.task_instance_id,
    }
    return labels | ({"control": control} if control else {})
