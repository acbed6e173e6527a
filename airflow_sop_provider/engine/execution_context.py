"""What an execution is given at its start: the document's meaning, fixed for as long as it runs.

Stored beside the execution, so that every later question (what was it allowed to touch, in which order, with which
model, whom to tell) is answered from what held when it started, whatever the document says by now.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from airflow_sop_provider.contract.payload import StepPayload
from airflow_sop_provider.sop.graph import WorkflowGraph
from airflow_sop_provider.sop.loaded import LoadedSop
from airflow_sop_provider.sop.models import Step
from airflow_sop_provider.sop.step_models import STEP_KINDS, Resources

__all__ = ["AGENT_STEP", "ContextStep", "ExecutionContext", "context_of_payloads", "context_of_sop"]

AGENT_STEP = "agent"
"""Id of the one step that an agent-centric execution has for Airflow."""


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ContextStep(_Model):
    """One step as an execution sees it.

    :param kind: of the language: ``tool``, ``compute``, ...
    :param mapped: whether it is done for each item of a list.
    """

    id: str
    kind: str
    title: str | None = None
    needs: tuple[str, ...] = ()
    mapped: bool = False


class ExecutionContext(_Model):
    """Everything of the SOP that an execution depends on.

    :param steps: what Airflow carries out as tasks; of an agent-centric SOP one step, ``agent``.
    :param procedure: the steps of the document, also where an agent carries them out.
    :param expected_seconds: the SOP's ``expected_duration``, None if it declares none.
    :param complete: whether the document itself was at hand; otherwise only what its tasks carry is known.
    """

    sop: str
    version: str
    digest: str
    title: str
    mode: Literal["system_design", "agent_centric"]
    priority: str = "normal"
    control: str | None = None
    control_type: str | None = None
    owner: str | None = None
    expected_seconds: float | None = None
    inputs: dict[str, Any] = Field(default_factory=dict)
    data_sources: dict[str, Any] = Field(default_factory=dict)
    agent: dict[str, Any] | None = None
    guidance: str | None = None
    resources: dict[str, Any] | None = None
    schedule: dict[str, Any] | None = None
    escalation: tuple[dict[str, Any], ...] = ()
    steps: tuple[ContextStep, ...] = ()
    rollback: tuple[str, ...] = ()
    procedure: tuple[str, ...] = ()
    complete: bool = True

    @property
    def graph(self) -> WorkflowGraph:
        """The graph of `steps`."""
        return WorkflowGraph({step.id: step.needs for step in self.steps})


def context_of_sop(loaded: LoadedSop) -> ExecutionContext:
    """Return the context of every execution of a valid SOP."""
    sop = loaded.sop
    agent_centric = loaded.mode.mode == "agent_centric"
    steps = (ContextStep(id=AGENT_STEP, kind="agent", title=sop.title),) if agent_centric else map(_step, sop.steps)
    return ExecutionContext(
        sop=sop.sop,
        version=sop.version,
        digest=loaded.sha256,
        title=sop.title,
        mode=loaded.mode.mode,
        priority=sop.priority,
        control=sop.control,
        control_type=sop.control_type,
        owner=sop.owner,
        expected_seconds=None if sop.expected_duration is None else sop.expected_duration.total_seconds(),
        inputs=sop.inputs,
        data_sources={name: source.model_dump(mode="json") for name, source in sop.data_sources.items()},
        agent=None if sop.agent is None else sop.agent.model_dump(mode="json"),
        guidance=sop.guidance,
        resources=_resources(sop.resources),
        schedule=None if sop.schedule is None else sop.schedule.model_dump(mode="json"),
        escalation=tuple(entry.model_dump(mode="json") for entry in sop.escalation),
        steps=tuple(steps),
        rollback=() if agent_centric else tuple(step.id for step in sop.rollback),
        procedure=tuple(step.id for step in sop.steps),
    )


def context_of_payloads(
    title: str, payloads: Iterable[StepPayload], needs: Mapping[str, Iterable[str]]
) -> ExecutionContext:
    """Return as much of a context as the tasks of a DAG carry, for a DAG whose document is not at hand.

    :param payloads: at least one.
    :param needs: step id -> ids of its prerequisites.
    """
    listed = list(payloads)
    first = listed[0]
    agent_centric = first.kind == "agent_centric"
    steps = [payload for payload in listed if payload.kind in ("step", "agent_centric")]
    return ExecutionContext(
        sop=first.sop,
        version=first.version,
        digest=first.digest,
        title=title,
        mode="agent_centric" if agent_centric else "system_design",
        priority=first.priority,
        control=first.control,
        inputs=first.inputs,
        data_sources={name: source for payload in listed for name, source in payload.data_sources.items()},
        agent=next((payload.agent for payload in listed if payload.agent is not None), None),
        guidance=next((payload.guidance for payload in listed if payload.guidance is not None), None),
        steps=tuple(_step_of_payload(payload, needs) for payload in steps),
        rollback=tuple(payload.step_id for payload in listed if payload.kind == "rollback"),
        procedure=tuple(payload.step_id for payload in steps),
        complete=False,
    )


def _step(step: Step) -> ContextStep:
    return ContextStep(
        id=step.id, kind=step.kind, title=step.title, needs=tuple(step.needs), mapped=step.for_each is not None
    )


def _step_of_payload(payload: StepPayload, needs: Mapping[str, Iterable[str]]) -> ContextStep:
    if payload.kind == "agent_centric":
        return ContextStep(id=AGENT_STEP, kind="agent")
    kind = next((name for name in STEP_KINDS if name in payload.step), "")
    own = tuple(needs.get(payload.step_id, ()))
    return ContextStep(id=payload.step_id, kind=kind, needs=own, mapped=payload.items_task is not None)


def _resources(resources: Resources | None) -> dict[str, Any] | None:
    return None if resources is None else resources.model_dump(mode="json", exclude_none=True)
