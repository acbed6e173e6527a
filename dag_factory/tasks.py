"""Steps as tasks, and the edges between them."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from airflow.sdk import TaskGroup, TriggerRule
from airflow.sdk.definitions.mappedoperator import MappedOperator

from airflow_sop_provider.contract.payload import StepPayload
from airflow_sop_provider.engine.payloads import items_payload, sop_payload, step_payload
from airflow_sop_provider.engine.pools import REALTIME_POOL, slots_of
from airflow_sop_provider.engine.priorities import PRIORITY_WEIGHTS
from airflow_sop_provider.engine.rollback_order import rollback_needs
from airflow_sop_provider.operators.sop_approval import SopApprovalOperator
from airflow_sop_provider.operators.sop_step import SopStepOperator
from airflow_sop_provider.runs.approval_text import OPTIONS
from airflow_sop_provider.sop.checks.graph import ITEMS_SUFFIX
from airflow_sop_provider.sop.loaded import LoadedSop
from airflow_sop_provider.sop.models import RollbackStep, Step
from dag_factory.docs import step_doc
from dag_factory.site import site

__all__ = ["AGENT_TASK", "ROLLBACK_GROUP", "add_agent_task", "add_rollback", "add_steps", "items_task_of"]

AGENT_TASK = "agent"
"""Task id of an agent-centric SOP's one task."""

ROLLBACK_GROUP = "Rollback"
"""Task group of the rollback steps; upper case, so no step can have its name."""

_WORKER_MARGIN = timedelta(seconds=60)
"""What a worker gets on top of a step's own timeout, which the runtime enforces and explains better."""

Task = SopStepOperator | MappedOperator


def add_steps(loaded: LoadedSop) -> dict[str, Task]:
    """Add a task for each step to the DAG of the context; return them by step id."""
    tasks: dict[str, Task] = {}
    for step_id in loaded.graph.order:
        step = loaded.sop.step(step_id)
        needs = [tasks[need] for need in step.needs]
        add = _step_task if step.for_each is None else _mapped
        tasks[step_id] = add(loaded, step, needs)
    return tasks


def add_agent_task(loaded: LoadedSop) -> None:
    """Add the one task of an agent-centric SOP to the DAG of the context."""
    SopStepOperator(**_arguments(AGENT_TASK, sop_payload(loaded), loaded), task_display_name=loaded.sop.title)


def add_rollback(loaded: LoadedSop, tasks: dict[str, Task]) -> None:
    """Add the rollback steps to the DAG of the context.

    They are teardowns: whatever comes of them does not change what the execution came to. They are
    no partners of setups: Airflow wants setups to be followed by ``all_success``, which is not the
    rule of an SOP's steps.
    """
    if not loaded.sop.rollback:
        return
    undo: dict[str, Task] = {}
    with TaskGroup(ROLLBACK_GROUP, prefix_group_id=False, tooltip="Undoes what succeeded when the execution failed"):
        for step in loaded.sop.rollback:
            undo[step.id] = SopStepOperator(
                **_arguments(step.id, step_payload(loaded, step), loaded), **_looks(step)
            ).as_teardown()
    for step_id, needs in rollback_needs(loaded.graph, loaded.sop.rollback).items():
        undo[step_id].set_upstream([{**tasks, **undo}[need] for need in needs])


def items_task_of(step_id: str) -> str:
    """Return the id of the task that lists the items of a step; the language gives no step such an id."""
    return f"{step_id}{ITEMS_SUFFIX}"


def _step_task(loaded: LoadedSop, step: Step, needs: list[Task]) -> Task:
    arguments = {**_arguments(step.id, step_payload(loaded, step), loaded), **_looks(step), **_rule(needs)}
    task = _operator(step)(**arguments, **_request(step))
    if needs:
        task.set_upstream(needs)
    return task


def _mapped(loaded: LoadedSop, step: Step, needs: list[Task]) -> Task:
    name = items_task_of(step.id)
    items = SopStepOperator(
        **_arguments(name, items_payload(loaded, step), loaded),
        **_rule(needs),
        doc_md=f"Lists the items of `{step.id}`.",
        task_display_name=f"{step.title or step.id}: items",
    )
    if needs:
        items.set_upstream(needs)
    payload = step_payload(loaded, step, items_task=name)
    arguments = {**_arguments(step.id, payload, loaded), **_looks(step), **_rule([items])}
    template = _operator(step).partial(**arguments, **_request(step))
    mapped: Task = template.expand(item=items.output)
    return mapped


def _operator(step: Step) -> type[SopStepOperator]:
    return SopStepOperator if step.approval is None else SopApprovalOperator


def _request(step: Step) -> dict[str, Any]:
    """Return what Airflow's operator for human-in-the-loop demands; the text of a request is made when it is asked."""
    if step.approval is None:
        return {}
    return {"subject": step.title or f"Approve {step.id}", "options": list(OPTIONS)}


def _rule(needs: list[Task]) -> dict[str, Any]:
    # A step runs when no prerequisite failed and at least one ran; skipped prerequisites alone skip it.
    return {"trigger_rule": TriggerRule.NONE_FAILED_MIN_ONE_SUCCESS} if needs else {}


def _looks(step: Step | RollbackStep) -> dict[str, Any]:
    looks: dict[str, Any] = {"doc_md": step_doc(step)}
    return looks | ({"task_display_name": step.title} if step.title else {})


def _arguments(task_id: str, payload: StepPayload, loaded: LoadedSop) -> dict[str, Any]:
    seconds = payload.timeout_seconds
    return {
        "task_id": task_id,
        "owner": loaded.sop.owner or "airflow",
        "retries": payload.max_retries,
        "retry_delay": timedelta(seconds=1),
        "retry_exponential_backoff": 2,
        "execution_timeout": None if seconds is None else timedelta(seconds=seconds) + _WORKER_MARGIN,
        "priority_weight": PRIORITY_WEIGHTS[loaded.sop.priority],
        "weight_rule": "absolute",
        "pool": REALTIME_POOL,  # the policy takes the steps of a batch to another
        "pool_slots": slots_of(payload.cpu_millis),
        "executor": site().executor,
        **SopStepOperator.task_arguments(payload),
    }
