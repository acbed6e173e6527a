"""What a step does and when it runs, in a few words a reader of the control understands."""

from __future__ import annotations

import re
from collections.abc import Sequence

from airflow_sop_provider.sop import RollbackStep, Step

__all__ = ["action_in_words", "asks_agent", "listed", "start_in_words"]

_ASK = re.compile(r"\bask\b")
"""The name with which a rule hands a decision to the agent; a false hit only says too much."""


def action_in_words(step: Step | RollbackStep) -> str:
    """Return what the step does: `calls vendors.bank_history`, `decides clear or suspicious by a rule`."""
    if step.tool is not None:
        return f"calls {step.tool}"
    if step.command is not None:
        return f"runs {step.command.image or 'a program'}"
    if step.compute is not None:
        return f"computes {listed(list(step.compute))}"
    if isinstance(step, RollbackStep):
        raise AssertionError("a rollback step has one of the kinds above")
    if step.decision is not None:
        return f"decides {listed(list(step.decision.options), 'or')} {_decider(step)}"
    if step.approval is not None:
        return f"waits for approval by {listed(list(step.approval.by), 'or')}"
    return "is carried out by an agent"


def start_in_words(step: Step, prerequisites: Sequence[str]) -> str:
    """Return when the step runs: `after history and score, when steps.judge.choice == 'suspicious'`."""
    words = f"after {listed(prerequisites)}" if prerequisites else "at once"
    if step.for_each is not None:
        words += f", once for each item of {step.for_each}"
    if step.when is not None:
        words += f", when {step.when}"
    return words


def listed(names: Sequence[str], conjunction: str = "and") -> str:
    """`a`, `a and b`, `a, b and c`."""
    if len(names) < 2:
        return "".join(names)
    return f"{', '.join(names[:-1])} {conjunction} {names[-1]}"


def asks_agent(step: Step) -> bool:
    """Whether a model may decide something in this step."""
    if step.decision is not None:
        return step.decision.rule is None or bool(_ASK.search(step.decision.rule))
    return step.agent is not None


def _decider(step: Step) -> str:
    if not asks_agent(step):
        return "by a rule"
    assert step.decision is not None
    return "by an agent" if step.decision.rule is None else "by a rule that may ask an agent"
