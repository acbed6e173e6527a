"""Where a step holds expressions, and which steps' outputs it reads.

The one list of places: validation, the DAG factory (what a task must be given) and the runner
(what to render) all ask here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from airflow_sop_provider.sop.expression_syntax import Parsed, parse_expression, parse_template
from airflow_sop_provider.sop.step_models import RollbackStep, Step

__all__ = ["Formula", "formulas", "may_ask", "step_reads"]


@dataclass(frozen=True, slots=True)
class Formula:
    """One text of a step that holds an expression.

    :param path: keys and indices from the step to the text.
    :param template: whether expressions stand in ``{{ }}``, or the text is one.
    """

    path: tuple[str | int, ...]
    text: str
    template: bool

    def parse(self) -> Parsed:
        """Return the text taken apart."""
        return parse_template(self.text) if self.template else parse_expression(self.text)


_BARE: tuple[tuple[str, ...], ...] = (("when",), ("for_each",), ("decision", "rule"))
_TEMPLATES: tuple[tuple[str, ...], ...] = (
    ("guidance",),
    ("decision", "question"),
    ("decision", "guidance"),
    ("agent", "instruction"),
    ("approval", "question"),
    ("arguments",),
    ("command", "command"),
    ("command", "args"),
    ("command", "env"),
)


def formulas(step: Mapping[str, Any]) -> Iterator[Formula]:
    """Yield the expressions and templates of a step given as plain data, valid or not."""
    for path in _BARE:
        text = _at(step, path)
        if isinstance(text, str):
            yield Formula(path, text, template=False)
    compute = step.get("compute")
    if isinstance(compute, Mapping):
        for name, text in compute.items():
            if isinstance(text, str):
                yield Formula(("compute", name), text, template=False)
    for path in _TEMPLATES:
        yield from _templates(_at(step, path), path)


def step_reads(step: Step | RollbackStep) -> tuple[str, ...]:
    """Return ids of the steps whose outputs a step's expressions read, in alphabetical order."""
    data = step.model_dump(mode="json", exclude_none=True)
    return tuple(sorted({reference.step for formula in formulas(data) for reference in formula.parse().steps}))


def may_ask(step: Step) -> bool:
    """Whether an agent may be asked: a step of kind `agent`, or a decision whose rule can hand it over (`ask`)."""
    if step.decision is None:
        return step.agent is not None
    return step.decision.rule is None or "ask" in parse_expression(step.decision.rule).names


def _at(step: Mapping[str, Any], path: tuple[str, ...]) -> Any:
    value: Any = step
    for part in path:
        if not isinstance(value, Mapping):
            return None
        value = value.get(part)
    return value


def _templates(value: Any, path: tuple[str | int, ...]) -> Iterator[Formula]:
    if isinstance(value, str):
        if "{{" in value or "{%" in value:
            yield Formula(path, value, template=True)
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from _templates(item, (*path, key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _templates(item, (*path, index))
