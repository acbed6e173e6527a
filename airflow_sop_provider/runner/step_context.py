"""What the code of one step kind gets: the step, the names its expressions may read, and where to report."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from airflow_sop_provider import __version__
from airflow_sop_provider.contract.assignment import Assignment
from airflow_sop_provider.runner.failures import bad_data
from airflow_sop_provider.runner.lines import EventLog, Log, Redactor
from airflow_sop_provider.runner.usage import seconds_since_process_start

__all__ = ["StepContext", "ToolCaller"]

ToolCaller = Callable[[str, str, dict[str, Any], float | None], Any]
"""Calls a tool: server, tool, arguments, the step's limit in seconds -> result; raises `StepFailureError`."""


@dataclass
class StepContext:
    """One attempt while it runs.

    :param names: what expressions may read: ``inputs``, ``steps``, ``execution``, ``item`` in a ``for_each``.
    :param call: what calls tools; None: this attempt opens its own connections.
    :param agent_usage: what agents spent so far, as fields of `Usage`; None: none worked.
    :param children: process ids to end when the attempt is stopped.
    :param first_action_seconds: process start to the first action, None before it.
    """

    assignment: Assignment
    log: Log
    events: EventLog
    redactor: Redactor
    fleet: Path | None = None
    call: ToolCaller | None = None
    agent_usage: Callable[[], dict[str, Any]] | None = None
    children: list[int] = field(default_factory=list)
    first_action_seconds: float | None = None

    @property
    def step(self) -> dict[str, Any]:
        """The step as in the SOP."""
        return self.assignment.payload.step

    @property
    def names(self) -> Mapping[str, Any]:
        """Names readable in expressions."""
        assignment = self.assignment
        names = {"inputs": assignment.inputs, "steps": assignment.steps, "execution": assignment.execution}
        return {**names, "item": assignment.item} if assignment.key.map_index >= 0 else names

    def evaluate(self, expression: object, where: str) -> object:
        """Evaluate a bare expression.

        :raises StepFailureError: exit 65 (``expression``) if it cannot be evaluated.
        """
        from airflow_sop_provider.sop.expressions import evaluate  # Jinja2: only steps with expressions pay for it

        if not isinstance(expression, str):
            return expression  # YAML already made it a value: `when: true`
        return _guarded(lambda: evaluate(expression, self.names), where)

    def render(self, value: object, where: str) -> Any:
        """Render ``{{ … }}`` in the strings of a JSON value.

        :raises StepFailureError: exit 65 (``expression``) if one cannot be evaluated.
        """
        from airflow_sop_provider.sop.templates import has_expressions

        if not has_expressions(value):
            return value
        from airflow_sop_provider.sop.expressions import render  # as above

        return _guarded(lambda: render(value, self.names), where)

    def action(self, action: str, text: str, **fields: Any) -> None:
        """Record the start of an action, in the log and as an event."""
        if self.first_action_seconds is None:
            self.first_action_seconds = seconds_since_process_start()
            # what carried it out is said once in an attempt: an export names it years later
            fields |= {"runner": __version__, "python": sys.version.partition(" ")[0]}
        self.events.emit("action", action=action, **fields)
        self.log.info(text)


def _guarded(evaluation: Callable[[], object], where: str) -> object:
    from airflow_sop_provider.sop.expressions import ExpressionError

    try:
        return evaluation()
    except ExpressionError as error:
        if isinstance(error.__cause__, MemoryError):  # more memory may heal it, another formula need not
            raise error.__cause__ from error
        raise bad_data("expression", f"`{where}` cannot be evaluated: {error}", where=where) from error
