"""The kind ``decision``: a rule chooses one of the options, or hands the question to an agent with ``ask``."""

from __future__ import annotations

from typing import Any

from airflow_sop_provider.runner.failures import StepFailureError, bad_configuration, bad_data
from airflow_sop_provider.runner.step_context import StepContext

__all__ = ["agent_unavailable", "run_decision"]


def run_decision(context: StepContext) -> dict[str, Any]:
    """Decide by the step's rule.

    :raises StepFailureError: exit 65 (``decision-not-an-option``) if the rule yields something else
        than an option; exit 78 (``agent-unavailable``) if an agent would have to decide.
    """
    from airflow_sop_provider.sop.expressions import ASK

    decision: dict[str, Any] = context.step["decision"]
    options: dict[str, Any] = decision["options"]
    rule = decision.get("rule")
    context.action("decision", f"Deciding: {decision.get('question', '')}", options=list(options))
    if rule is None:
        raise agent_unavailable("this decision has no `rule`")
    choice = context.evaluate(rule, "decision.rule")
    if choice is ASK:
        raise agent_unavailable("the rule answered `ask`")
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


def agent_unavailable(why: str) -> StepFailureError:
    """Return the failure of a step that only an agent could carry out."""
    return bad_configuration(
        "agent-unavailable",
        f"An agent is needed ({why}), and this runner has none. Use a `rule` that decides every case, "
        "or a runner with agents.",
    )
