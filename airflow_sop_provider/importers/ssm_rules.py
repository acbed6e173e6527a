"""`aws:branch` as a decision: its choices are a rule where every one of them can be said."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from airflow_sop_provider.importers.flow import Built, Edge, Scope
from airflow_sop_provider.importers.ssm_values import reference
from airflow_sop_provider.importers.texts import approval, clean, literal, one_line

__all__ = ["asked", "branch_rule"]

_MOST_CHOICES = 15
_OPERATORS = {
    "StringEquals": "{0} == {1}", "NumericEquals": "{0} == {1}", "BooleanEquals": "{0} == {1}",
    "EqualsIgnoreCase": "({0} | lower) == ({1} | lower)", "Contains": "{1} in {0}",
    "StartsWith": "{0}.startswith({1})", "EndsWith": "{0}.endswith({1})",
    "NumericGreater": "{0} > {1}", "NumericLesser": "{0} < {1}",
    "NumericGreaterOrEquals": "{0} >= {1}", "NumericLesserOrEquals": "{0} <= {1}",
}  # fmt: skip
END = "end"


def branch_rule(
    step: dict[str, Any], inputs: dict[str, Any], by_name: dict[str, Any], following: str | None
) -> tuple[list[Edge], tuple[str, ...], Callable[[Scope], Built]]:
    """Return edges, options and builder of a branch."""
    choices = (
        [one for one in inputs.get("Choices") or [] if isinstance(one, dict)]
        if isinstance(inputs.get("Choices"), list)
        else []
    )
    default = str(inputs.get("Default") or "") or (None if step.get("isEnd") in (True, "true") else following)
    targets = [str(one.get("NextStep") or "") or None for one in choices]
    names = [f"choice-{index}" for index in range(1, len(choices) + 1)]
    options = {
        name: f"goes on with {one_line(target or 'the end')}" for name, target in zip(names, targets, strict=True)
    }
    options["default"] = f"goes on with {one_line(default or 'the end')}"
    if len(options) == 1:
        options["none"] = "there is no other"
    edges = [Edge(target, name) for name, target in zip(names, targets, strict=True)] + [Edge(default, "default")]
    question = f"Which way does {one_line(step['name'])} take?"

    def build(scope: Scope) -> Built:
        rule = "'default'"
        for name, choice in reversed(list(zip(names, choices, strict=True))):
            condition = _condition(choice, scope, by_name, 0)
            if condition is None or len(choices) > _MOST_CHOICES:
                return asked(
                    one_line(step["name"]), question, options, json.dumps(choices, ensure_ascii=False, default=str)
                )
            rule = (
                f"'{name}' if {condition} else {rule if rule.startswith(chr(39)) and ' ' not in rule else f'({rule})'}"
            )
        decision = {"question": literal(question), "options": options, "rule": rule}
        return Built([{"title": one_line(step["name"]), "decision": decision}])

    return edges, tuple(options), build


def asked(title: str, question: str, options: dict[str, str], how: str) -> Built:
    """Return a decision that an agent takes and a person confirms: its condition cannot be said as a rule."""
    decision = {"question": literal(question), "options": options, "guidance": literal(clean(how, 2000)) or "Ask."}
    confirm = approval(
        f"Confirm: {title}"[:200], "Is the agent's decision what the source's condition says? If not, reject it."
    )
    note = "its condition is no rule of ours: an agent decides and a person confirms it; write a `rule` instead"
    return Built([{"title": title, "decision": decision}, confirm], "approximated", note)


def _condition(choice: Any, scope: Scope, by_name: dict[str, Any], depth: int) -> str | None:
    if not isinstance(choice, dict) or depth > 4:
        return None
    for word, joiner in (("And", " and "), ("Or", " or ")):
        if isinstance(choice.get(word), list):
            parts = [_condition(one, scope, by_name, depth + 1) for one in choice[word]]
            if not parts or len(parts) > 6 or None in parts:
                return None
            return f"({joiner.join(str(part) for part in parts)})"
    if "Not" in choice:
        inner = _condition(choice["Not"], scope, by_name, depth + 1)
        return None if inner is None else f"not ({inner})"
    operators = [name for name in _OPERATORS if name in choice]
    variable = _operand(choice.get("Variable"), scope, by_name)
    if len(operators) != 1 or variable is None:
        return None
    wanted = _operand(choice[operators[0]], scope, by_name)
    return None if wanted is None else _OPERATORS[operators[0]].format(variable, wanted)


def _operand(value: Any, scope: Scope, by_name: dict[str, Any]) -> str | None:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    if not isinstance(value, str) or not value.isprintable() or len(value) > 200:
        return None
    stripped = value.strip()
    if stripped.startswith("{{") and stripped.endswith("}}"):
        return reference(stripped[2:-2].strip(), scope, by_name)
    if "{" in value or "\\" in value or "'" in value:
        return None
    return f"'{value}'"
