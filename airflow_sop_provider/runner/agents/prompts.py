"""What agents are told: the step, the decision, or the whole SOP; and how data is kept apart from it.

Nothing here is a template of ADK's, which reads braces as variables: texts are handed over through a callable.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from airflow_sop_provider.runner.agents.config import AgentConfig
from airflow_sop_provider.runner.agents.names import function_names
from airflow_sop_provider.runner.agents.untrusted import DATA_RULE, data_block, encoded
from airflow_sop_provider.runner.failures import bad_data

__all__ = ["apart", "ask_again", "opening", "sop_instruction", "step_instruction"]

_SOP_RULES = """\
You carry out the standard operating procedure below, all of it and nothing else, and you are accountable for it.
- Do its steps in order. Only the functions you are given exist; call one at a time and wait for its answer.
- Each answer says under `next` which step comes next and how it is done.
- Decide nothing on a hunch: where a step is a decision, call log_decision with an option of that step, your rationale,
  the evidence it rests on and your confidence from 0 to 1. What is ambiguous is decided there, never in passing.
- Call report_status when something worth knowing happens.
- When every step is done, call report_result with a summary. That ends your work."""

_STEP_RULES = """\
You carry out one step of a standard operating procedure, and nothing else.
Only the functions you are given exist. Say nothing that the data does not show."""

_DECISION_RULES = """\
You take one decision of a standard operating procedure, and nothing else.
Choose one of the options by its name. Give your rationale, the evidence in the data that it rests on, and your
confidence from 0 (a guess) to 1 (certain)."""


def apart(text: str, names: Mapping[str, Any], where: str) -> tuple[str, dict[str, Any]]:
    """Return a text of the SOP with labels for its values, and the values.

    :raises StepFailureError: exit 65 (``expression``) if an expression cannot be evaluated.
    """
    from airflow_sop_provider.sop.expressions import ExpressionError, render_apart

    try:
        return render_apart(text, names)
    except ExpressionError as error:
        raise bad_data("expression", f"`{where}` cannot be evaluated: {error}", where=where) from error


def sop_instruction(sop: Mapping[str, Any], config: AgentConfig) -> str:
    """Return what the agent of a whole SOP is told: every step, decision point and guidance."""
    functions = {name: tool for tool, name in function_names(config.tools).items()}
    return "\n\n".join(
        [
            _SOP_RULES,
            DATA_RULE,
            f"# Functions of its data sources\n{json.dumps(functions, ensure_ascii=False)}",
            *_guidance(sop.get("guidance")),
            f"# The procedure\n{json.dumps(sop, ensure_ascii=False)}",
        ]
    )


def step_instruction(
    step: Mapping[str, Any], names: Mapping[str, Any], guidance: str | None
) -> tuple[str, dict[str, Any]]:
    """Return what the agent of one step is told, and the values that its texts read.

    :param names: what the step's expressions may read.
    """
    decision = step.get("decision")
    values: dict[str, Any] = {}
    parts = [_DECISION_RULES if decision else _STEP_RULES, DATA_RULE, *_guidance(guidance)]
    for title, text in _texts(step):
        words, read = apart(text, names, title.lower())
        relabelled = {f"{title.lower()}_{label}": value for label, value in read.items()}
        for label in read:
            words = words.replace(f"[{label}]", f"[{title.lower()}_{label}]")
        values |= relabelled
        parts.append(f"# {title}\n{words}")
    if decision:
        parts.append(f"# Options\n{json.dumps(decision['options'], ensure_ascii=False)}")
    if step.get("outputs"):
        schema = json.dumps(step["outputs"], ensure_ascii=False)
        parts.append(f"# Answer\nAnswer with JSON that fits this schema, and nothing else:\n{schema}")
    return "\n\n".join(parts), values


def opening(status: Mapping[str, Any], data: Mapping[str, Any]) -> str:
    """Return the first message: where things stand, and the data to work on."""
    return f"Begin.\n<status>\n{encoded(status)}\n</status>\n{data_block(data)}"


def ask_again(problem: str) -> str:
    """Return the message with which a model is asked again whose answer did not fit."""
    return f"Your answer does not fit: {problem} Answer again, correctly."


def _texts(step: Mapping[str, Any]) -> list[tuple[str, str]]:
    decision = step.get("decision") or {}
    texts = [
        ("Instruction", (step.get("agent") or {}).get("instruction")),
        ("Question", decision.get("question")),
        ("Guidance", step.get("guidance")),
        ("Criteria", decision.get("guidance")),
    ]
    return [(title, text) for title, text in texts if text]


def _guidance(text: str | None) -> list[str]:
    return [f"# Guidance of the procedure\n{text}"] if text else []
