"""From a task's kind to the code that carries it out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from airflow_sop_provider.runner.failures import StepSkippedError, bad_configuration
from airflow_sop_provider.runner.outputs import check_outputs
from airflow_sop_provider.runner.step_context import StepContext
from airflow_sop_provider.runner.values import check_size, to_items

__all__ = ["execute"]


def execute(context: StepContext) -> Any:
    """Carry out the assignment's task and return its checked outputs.

    :raises StepSkippedError: if ``when`` is false.
    :raises StepFailureError: if it failed in a way that is understood.
    """
    kind = context.assignment.payload.kind
    if kind == "items":
        outputs: Any = _items(context)
    elif kind == "agent_centric":
        outputs = _agent(context)
    else:
        outputs = _step(context)
        if context.step.get("approval") is None:  # of that the outputs come later, from people
            check_outputs(outputs, context.step.get("outputs"))
    check_size(outputs)
    return outputs


def _items(context: StepContext) -> list[Any]:
    context.action("for_each", "Listing the items of `for_each`")
    return to_items(context.evaluate(context.step["for_each"], "for_each"))


def _step(context: StepContext) -> Any:
    when = context.step.get("when")
    if when is not None and not context.evaluate(when, "when"):
        raise StepSkippedError(f"`when` is false: {when}")
    for kind, run in _KINDS.items():
        if context.step.get(kind) is not None:
            return run(context)
    raise bad_configuration("no-kind", "The step has none of the kinds this runner knows. Update the runner.")


def _tool(context: StepContext) -> Any:
    from airflow_sop_provider.runner.tool import run_tool

    return run_tool(context)


def _compute(context: StepContext) -> Any:
    from airflow_sop_provider.runner.compute import run_compute

    return run_compute(context)


def _decision(context: StepContext) -> Any:
    from airflow_sop_provider.runner.decision import run_decision

    return run_decision(context)


def _command(context: StepContext) -> Any:
    from airflow_sop_provider.runner.command import run_command

    return run_command(context)


def _approval(context: StepContext) -> Any:
    from airflow_sop_provider.runner.approval import prepare_approval

    return prepare_approval(context)


def _agent(context: StepContext) -> Any:
    from airflow_sop_provider.runner.agents.entry import carry_out

    return carry_out(context)


_KINDS: dict[str, Callable[[StepContext], Any]] = {
    "tool": _tool,
    "compute": _compute,
    "decision": _decision,
    "command": _command,
    "agent": _agent,
    "approval": _approval,
}
