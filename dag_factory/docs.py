"""What the reader of a DAG in Airflow's UI is told about the procedure."""

from __future__ import annotations

from airflow_sop_provider.sop.loaded import LoadedSop
from airflow_sop_provider.sop.models import RollbackStep, Step

__all__ = ["dag_doc", "step_doc"]


def dag_doc(loaded: LoadedSop) -> str:
    """Return title, what the SOP evidences, how it runs and its guidance, as Markdown."""
    sop = loaded.sop
    facts = {
        "SOP": f"`{sop.sop}` {sop.version}",
        "Control": sop.control,
        "Control type": sop.control_type,
        "Owner": sop.owner,
        "Mode": f"{loaded.mode.mode}: {loaded.mode.reason}",
        "Data sources": ", ".join(f"{name} ({', '.join(source.tools)})" for name, source in sop.data_sources.items()),
        "SHA-256": f"`{loaded.sha256}`",
    }
    lines = [f"# {sop.title}", "", *(f"- **{name}:** {fact}" for name, fact in facts.items() if fact)]
    if sop.guidance:
        lines += ["", "## Guidance", "", sop.guidance.rstrip()]
    return "\n".join(lines)


def step_doc(step: Step | RollbackStep) -> str:
    """Return what a step does, as Markdown."""
    lines = [f"**{step.title or step.id}**", "", _action(step)]
    if isinstance(step, RollbackStep):
        lines.append(f"Undoes `{step.after}`; runs only if the execution failed after it had succeeded.")
    else:
        if step.when:
            lines.append(f"Runs only when `{step.when}`.")
        if step.for_each:
            lines.append(f"Runs once for each item of `{step.for_each}`.")
        if step.guidance:
            lines += ["", step.guidance.rstrip()]
    return "\n\n".join(line for line in lines if line)


def _action(step: Step | RollbackStep) -> str:
    if step.tool is not None:
        return f"Calls `{step.tool}`."
    if step.compute is not None:
        return f"Computes {', '.join(f'`{name}`' for name in step.compute)}."
    if isinstance(step, Step) and step.decision is not None:
        return f"Decides: {step.decision.question}"
    if isinstance(step, Step) and step.approval is not None:
        return f"Waits for approval by {', '.join(step.approval.by)}."
    return "Runs a command." if step.command is not None else "Hands the work to an agent."
