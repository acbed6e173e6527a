"""Every step has exactly one kind, and keys that belong to a kind stand with it."""

from __future__ import annotations

from airflow_sop_provider.sop.checks.document import Document, StepView
from airflow_sop_provider.sop.models import RollbackStep, Step
from airflow_sop_provider.sop.step_models import ROLLBACK_KINDS, STEP_KINDS

__all__ = ["check_kinds"]


def check_kinds(document: Document) -> None:
    """Report steps with no kind or several, and `arguments` without `tool`."""
    for step in [*document.steps, *document.rollback]:
        _check_count(document, step)
        if step.data.get("arguments") and "tool" not in step.data:
            document.report("misplaced-key", f"{step.name} has `arguments`, but no `tool` they could go to",
                            (*step.path, "arguments"), "name the `tool`, or remove them", key=True)  # fmt: skip


def _check_count(document: Document, step: StepView) -> None:
    kinds = ROLLBACK_KINDS if step.is_rollback else STEP_KINDS
    found = [key for key in step.data if key in kinds]
    if len(found) > 1:
        names = " and ".join(f"`{key}`" for key in found)
        document.report("step-kind", f"{step.name} has {names}; a step does exactly one thing",
                        (*step.path, found[1]), "make a step of each, joined by `needs`", key=True)  # fmt: skip
    model = RollbackStep if step.is_rollback else Step
    if not found and set(step.data) <= set(model.model_fields):  # else an unknown key is the misspelt kind
        document.report("step-kind", f"{step.name} does nothing", step.path, f"add one of {', '.join(kinds)}")
