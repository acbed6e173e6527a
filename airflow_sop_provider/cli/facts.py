"""What `sop explain` says, as plain data: gathered once, printed as JSON or told as text.

Everything a control owner has to answer for is named here: what runs and when, and all that the
procedure may touch. Numbers carry their unit in their name.
`TypedDict` is that of typing_extensions, which comes with pydantic: pydantic checks no other before Python 3.12.
"""

from __future__ import annotations

from datetime import timedelta

from typing_extensions import TypedDict

from airflow_sop_provider.cli.words import action_in_words, asks_agent, start_in_words
from airflow_sop_provider.sop import LoadedSop, RollbackStep, Sop, Step
from airflow_sop_provider.sop.models import Retry

__all__ = [
    "Approval",
    "DataSource",
    "Facts",
    "Input",
    "Mode",
    "Rollback",
    "Schedule",
    "StepFacts",
    "Touches",
    "facts_of",
]


class Mode(TypedDict):
    """Which mode was chosen, and what stands against the other one."""

    asked: str
    chosen: str
    reason: str
    against_agent_centric: list[str]


class Input(TypedDict):
    """One input of a run; `required` where it has no default."""

    name: str
    schema: dict[str, object]
    required: bool


class StepFacts(TypedDict):
    """One step; `runs` and `does` are words."""

    id: str
    title: str | None
    kind: str
    does: str
    runs: str
    needs: list[str]
    timeout_seconds: float | None
    max_retries: int


class Rollback(TypedDict):
    """What undoes a step that succeeded, when the execution fails."""

    id: str
    after: str
    does: str


class DataSource(TypedDict):
    """A server of the fleet, the tools allowed, and which steps call which of them."""

    name: str
    server: str
    tools: list[str]
    called_by: dict[str, list[str]]


class Approval(TypedDict):
    """Who may approve a step."""

    step: str
    by: list[str]
    not_by: str | None
    quorum: int


class Touches(TypedDict):
    """All that the SOP can reach. Steps whose id is in `agents` may have a model decide."""

    data_sources: list[DataSource]
    commands: dict[str, str]
    approvals: list[Approval]
    agents: list[str]
    model: str | None


class Schedule(TypedDict):
    """When executions start by themselves."""

    cron: str
    timezone: str
    window_seconds: float | None
    catchup: bool


class Facts(TypedDict):
    """What there is to say about an SOP."""

    file: str
    sop: str
    version: str
    title: str
    sha256: str
    control: str | None
    control_type: str | None
    owner: str | None
    priority: str
    expected_duration_seconds: float | None
    mode: Mode
    inputs: list[Input]
    steps: list[StepFacts]
    rollback: list[Rollback]
    touches: Touches
    resources: dict[str, dict[str, str | int]]
    schedule: Schedule | None
    escalation: list[str]


RUNNER_IMAGE = "(the engine's own image)"
"""Stands for a command's image where the SOP names none."""


def facts_of(loaded: LoadedSop) -> Facts:
    """Gather the facts of a valid SOP."""
    sop = loaded.sop
    return {
        "file": str(loaded.path),
        "sop": sop.sop,
        "version": sop.version,
        "title": sop.title,
        "sha256": loaded.sha256,
        "control": sop.control,
        "control_type": sop.control_type,
        "owner": sop.owner,
        "priority": sop.priority,
        "expected_duration_seconds": _seconds(sop.expected_duration),
        "mode": _mode(loaded),
        "inputs": [
            {"name": name, "schema": dict(schema), "required": "default" not in schema}
            for name, schema in sop.inputs.items()
        ],
        "steps": [_step(sop.step(step), loaded) for step in loaded.graph.order],
        "rollback": [{"id": undo.id, "after": undo.after, "does": action_in_words(undo)} for undo in sop.rollback],
        "touches": _touches(sop),
        "resources": _resources(sop),
        "schedule": _schedule(sop),
        "escalation": [target.notifier for target in sop.escalation],
    }


def _mode(loaded: LoadedSop) -> Mode:
    return {
        "asked": loaded.sop.mode,
        "chosen": loaded.mode.mode,
        "reason": loaded.mode.reason,
        "against_agent_centric": [found.reason for found in loaded.mode.incompatibilities],
    }


def _step(step: Step, loaded: LoadedSop) -> StepFacts:
    return {
        "id": step.id,
        "title": step.title,
        "kind": step.kind,
        "does": action_in_words(step),
        "runs": start_in_words(step, loaded.graph.prerequisites(step.id)),
        "needs": list(step.needs),
        "timeout_seconds": _seconds(step.timeout),
        "max_retries": (step.retry or Retry()).max_retries,
    }


def _touches(sop: Sop) -> Touches:
    work: list[Step | RollbackStep] = [*sop.steps, *sop.rollback]
    return {
        "data_sources": [
            {
                "name": name,
                "server": source.server,
                "tools": list(source.tools),
                "called_by": {tool: _callers(work, f"{name}.{tool}") for tool in source.tools},
            }
            for name, source in sop.data_sources.items()
        ],
        "commands": {step.id: step.command.image or RUNNER_IMAGE for step in work if step.command is not None},
        "approvals": [
            {
                "step": step.id,
                "by": list(step.approval.by),
                "not_by": step.approval.not_by,
                "quorum": step.approval.quorum,
            }
            for step in sop.steps
            if step.approval is not None
        ],
        "agents": [step.id for step in sop.steps if asks_agent(step)],
        "model": sop.agent.model if sop.agent is not None else None,
    }


def _callers(work: list[Step | RollbackStep], tool: str) -> list[str]:
    return [
        step.id
        for step in work
        if step.tool == tool or (isinstance(step, Step) and step.agent is not None and tool in step.agent.tools)
    ]


def _resources(sop: Sop) -> dict[str, dict[str, str | int]]:
    """Return what differs from the deployment's defaults: `*` for every step, then by step."""
    work: list[Step | RollbackStep] = [*sop.steps, *sop.rollback]
    asked = {"*": sop.resources, **{step.id: step.resources for step in work}}
    return {name: resources.model_dump(exclude_none=True) for name, resources in asked.items() if resources is not None}


def _schedule(sop: Sop) -> Schedule | None:
    if sop.schedule is None:
        return None
    return {
        "cron": sop.schedule.cron,
        "timezone": sop.schedule.timezone,
        "window_seconds": _seconds(sop.schedule.window),
        "catchup": sop.schedule.catchup,
    }


def _seconds(duration: timedelta | None) -> float | None:
    return None if duration is None else duration.total_seconds()
