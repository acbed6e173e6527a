"""The kind ``compute``: named expressions; each sees the same names, none sees another's result."""

from __future__ import annotations

from typing import Any

from airflow_sop_provider.runner.step_context import StepContext
from airflow_sop_provider.runner.values import to_json

__all__ = ["run_compute"]


def run_compute(context: StepContext) -> dict[str, Any]:
    """Evaluate every expression of the step.

    :raises StepFailureError: exit 65 if one cannot be evaluated or has no JSON form.
    """
    expressions: dict[str, Any] = context.step["compute"]
    context.action("compute", f"Computing {', '.join(expressions)}", names=list(expressions))
    return {name: to_json(context.evaluate(text, f"compute.{name}"), name) for name, text in expressions.items()}
