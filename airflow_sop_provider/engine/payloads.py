"""What each task of an SOP's DAG carries for its runner; least privilege is decided here.

A task gets what its own step names and nothing of its neighbours: its data sources with just the
tools it calls, the model only where a model may be asked.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from airflow_sop_provider.contract.payload import StepPayload, TaskKind
from airflow_sop_provider.engine.retries import DEFAULT_MAX_RETRIES
from airflow_sop_provider.sop.formulas import may_ask, step_reads
from airflow_sop_provider.sop.loaded import LoadedSop
from airflow_sop_provider.sop.models import RollbackStep, Sop, Step
from airflow_sop_provider.sop.step_models import Resources

__all__ = ["items_payload", "sop_payload", "step_payload"]

_ASKS_A_MODEL = frozenset({"agent", "decision"})
_LIMITS = ("cpu_millis", "memory_bytes", "max_memory_bytes", "ephemeral_storage_bytes", "gpus", "network_bits")


def step_payload(loaded: LoadedSop, step: Step | RollbackStep, items_task: str | None = None) -> StepPayload:
    """Return the payload of a step or rollback step.

    :param items_task: task that lists the items of the step's ``for_each``.
    """
    kind: TaskKind = "rollback" if isinstance(step, RollbackStep) else "step"
    model = loaded.sop.agent if step.kind in _ASKS_A_MODEL else None
    return StepPayload(
        kind=kind,
        step=step.model_dump(mode="json", exclude_none=True, exclude_defaults=True),
        data_sources=_narrowed(loaded.sop, _tools_of(step)),
        agent=None if model is None else model.model_dump(mode="json"),
        guidance=loaded.sop.guidance if step.kind in _ASKS_A_MODEL else None,
        reads=_reads(loaded, step),
        approvals=_approvals(loaded, step),
        items_task=items_task,
        timeout_seconds=None if step.timeout is None else step.timeout.total_seconds(),
        max_retries=DEFAULT_MAX_RETRIES if step.retry is None else step.retry.max_retries,
        **_identity(loaded),
        **_limits(loaded.sop.resources, step.resources),
    )


def items_payload(loaded: LoadedSop, step: Step) -> StepPayload:
    """Return the payload of the task that lists the items of a step's ``for_each``."""
    lister = {"id": step.id, "for_each": step.for_each}
    return StepPayload(kind="items", step=lister, reads=step_reads(step), **_identity(loaded))


def sop_payload(loaded: LoadedSop) -> StepPayload:
    """Return the payload of the one task of an agent-centric SOP."""
    sop = loaded.sop
    return StepPayload(
        kind="agent_centric",
        step=sop.model_dump(mode="json", exclude_none=True, exclude_defaults=True),
        data_sources={name: source.model_dump(mode="json") for name, source in sop.data_sources.items()},
        agent=None if sop.agent is None else sop.agent.model_dump(mode="json"),
        guidance=sop.guidance,
        max_retries=DEFAULT_MAX_RETRIES,
        **_identity(loaded),
        **_limits(sop.resources, None),
    )


def _reads(loaded: LoadedSop, step: Step | RollbackStep) -> tuple[str, ...]:
    """Return ids of the steps whose outputs a task is given: those its expressions read.

    An agent sees those of all its prerequisites, as its texts need not name what the question is about; and so does
    who approves, as a signature is about all that led there.
    """
    reads = set(step_reads(step))
    if isinstance(step, Step) and (may_ask(step) or step.approval is not None):
        reads |= loaded.graph.ancestors(step.id)
    return tuple(sorted(reads))


def _approvals(loaded: LoadedSop, step: Step | RollbackStep) -> tuple[str, ...]:
    if isinstance(step, RollbackStep):  # it undoes; nobody has to approve that
        return ()
    before = loaded.graph.ancestors(step.id)
    return tuple(sorted(one.id for one in loaded.sop.steps if one.approval is not None and one.id in before))


def _identity(loaded: LoadedSop) -> dict[str, Any]:
    sop = loaded.sop
    return {
        "sop": sop.sop,
        "version": sop.version,
        "digest": loaded.sha256,
        "control": sop.control,
        "priority": sop.priority,
        "inputs": sop.inputs,
    }


def _tools_of(step: Step | RollbackStep) -> Iterable[str]:
    if step.tool is not None:
        yield step.tool
    if isinstance(step, Step) and step.agent is not None:
        yield from step.agent.tools


def _narrowed(sop: Sop, tools: Iterable[str]) -> dict[str, Any]:
    """Return the data sources of ``<source>.<tool>`` names, each with just those tools."""
    narrowed: dict[str, Any] = {}
    for name in tools:
        source, _, tool = name.partition(".")
        entry = narrowed.setdefault(source, {"server": sop.data_sources[source].server, "tools": []})
        if tool not in entry["tools"]:
            entry["tools"].append(tool)
    return narrowed


def _limits(general: Resources | None, own: Resources | None) -> dict[str, Any]:
    """Return the limits of an attempt: the step's own, and the SOP's for what the step leaves out."""
    return {
        name: next(
            (value for one in (own, general) if one is not None and (value := getattr(one, name)) is not None), None
        )
        for name in _LIMITS
    }
