"""The kind ``decision``: a rule chooses one of the options, or hands the question to an agent with ``ask``."""

from __future__ import annotations

from typing import Any

from airflow_sop_provider.runner.failures import bad_data
from airflow_sop_provider.runner.step_context import StepContext

__all__ = ["run_decision"]


def run_decision(context: StepContext) -> dict[str, Any]:
    """Decide by the step's rule.

    :raises StepFailureError: exit 65 (``decision-not-an-option``) if the rule yields something else
        than an option; and as the agent does, if it is asked.
    """
    from airflow_sop_provider.sop.expressions import ASK

    decision: dict[str, Any] = context.step["decision"]
    options: dict[str, Any] = decision["options"]
    rule = decision.get("rule")
    context.action("decision", f"Deciding: {decision.get('question', '')}", options=list(options))
    if rule is None:
        return _ask(context)
    choice = context.evaluate(rule, "decision.rule")
    if choice is ASK:
        return _ask(context)
    if not isinstance(choice, str) or choice not in options:
        raise bad_data(
            "decision-not-an-option",
            f"The rule of the decision gave {choice!r}; the options are {', '.join(options)}.",
            options=list(options),
        )
    rationale = f"Rule `{rule}` gave `{choice}`: {options[choice]}"
    context.events.emit("decision", choice=choice, by="rule", rationale=rationale, options=list(options))
    context.log.info(f"Decided `{choice}`", rationale=rationale)
    return {"choice": str(choice), "rationale": rationale, "by": "rule", "options": list(options)}


def _ask(context: StepContext) -> dict[str, Any]:
    from airflow_sop_provider.runner.agents.entry import carry_out

    outputs: dict[str, Any] = carry_out(context)
    return outputs
