"""The kind ``approval``, as far as a program can carry it out: what people are to be asked.

Expressions come from documents, so they are evaluated here, in the step's own container. Who is asked, who may answer
and when it is decided is the engine's affair: the outputs of this are the question, never an approval.
"""

from __future__ import annotations

from typing import Any

from airflow_sop_provider.contract.approval import ApprovalQuestion
from airflow_sop_provider.runner.step_context import StepContext

__all__ = ["prepare_approval"]


def prepare_approval(context: StepContext) -> dict[str, Any]:
    """Return the rendered question, as JSON of `ApprovalQuestion`.

    :raises StepFailureError: exit 65 (``expression``) if an expression of it cannot be evaluated.
    """
    step = context.step
    approval: dict[str, Any] = step["approval"]
    question = context.render(approval.get("question"), "approval.question")
    guidance = context.render(step.get("guidance"), "guidance")
    context.action("approval", f"Asking {', '.join(approval['by'])} for approval", by=approval["by"])
    asked = ApprovalQuestion(
        title=step.get("title") or f"Approve {step['id']}",
        question=None if question is None else str(question),
        guidance=None if guidance is None else str(guidance),
    )
    return asked.model_dump(exclude_none=True)
