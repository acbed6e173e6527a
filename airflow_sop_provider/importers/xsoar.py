"""Cortex XSOAR playbooks."""

from __future__ import annotations

import re
from functools import partial
from typing import Any

from airflow_sop_provider.contract.assignment import RESERVED_CONF_KEYS
from airflow_sop_provider.importers.assemble import by_hand
from airflow_sop_provider.importers.flow import Built, Edge, Flow, Scope, SourceStep
from airflow_sop_provider.importers.ssm_rules import asked
from airflow_sop_provider.importers.ssm_values import clean_keep
from airflow_sop_provider.importers.texts import approval, clean, identifier, literal, one_line, slug
from airflow_sop_provider.importers.workflow import workflow_of

__all__ = ["read_xsoar"]

_INPUT = re.compile(r"\$\{inputs\.([A-Za-z0-9_ .-]+)\}")
_CONTEXT = re.compile(r"\$\{[^}]*\}")
_PASSES = {"start": "the start of the graph", "title": "a heading"}
_OPERATORS = {"isEqualString": "==", "isEqualNumber": "==", "isNotEqualString": "!=", "greaterThan": ">",
              "lessThan": "<", "greaterThanOrEqual": ">=", "lessThanOrEqual": "<="}  # fmt: skip


def read_xsoar(document: dict[str, Any], name: str) -> Flow:
    """Return the flow of a playbook.

    :param name: of the SOP.
    :raises ImportFailedError: it is no playbook.
    """
    flow, tasks, _ = workflow_of(document, name, steps="tasks", first="starttaskid", called="task")
    _inputs(flow, document.get("inputs"))
    if document.get("outputs"):
        flow.notes.append(
            "`outputs` of the playbook are left out: results of an execution are the outputs of its steps"
        )
    flow.steps = [_task(flow, key, task) for key, task in tasks.items()]
    return flow


def _inputs(flow: Flow, declared: Any) -> None:
    taken: set[str] = set()
    for one in declared if isinstance(declared, list) else ():
        if not isinstance(one, dict) or not one.get("key"):
            continue
        schema: dict[str, Any] = {"type": "string"}
        if text := clean(one.get("description") or "", 500):
            schema["description"] = text
        value = one.get("value")
        simple = value.get("simple") if isinstance(value, dict) else None
        if isinstance(simple, str | int | float | bool) and "${" not in str(simple):
            schema["default"] = clean_keep(str(simple))
        elif one.get("required") is not True:
            schema["default"] = ""
            if value:
                flow.notes.append(
                    f"input {one_line(one['key'])}: its value comes from XSOAR's context; here it is empty unless given"
                )
        flow.inputs[str(one["key"])] = (identifier(one["key"], taken, RESERVED_CONF_KEYS), schema)


def _task(flow: Flow, key: str, task: dict[str, Any]) -> SourceStep:
    kind = str(task.get("type", "regular"))
    about = task.get("task") if isinstance(task.get("task"), dict) else {}
    assert isinstance(about, dict)
    step = SourceStep(key, kind, one_line(about.get("name") or f"task {key}"))
    labels: list[str] = []
    following = task.get("nexttasks")
    for label, targets in following.items() if isinstance(following, dict) else ():
        listed = [str(target) for target in targets] if isinstance(targets, list) else []
        if label == "#error#":
            step.edges += [Edge(target, failure=True) for target in listed]
        elif kind == "condition":
            labels.append(str(label))
            step.edges += [Edge(target, _option(str(label))) for target in listed]
        else:
            step.edges += [Edge(target) for target in listed]
    if kind in _PASSES:
        step.note = _PASSES[kind]
        return step
    if task.get("continueonerror") is True:
        step.note = "the source goes on after its failure; here a failure halts what depends on it"
    if kind == "condition":
        options = {_option(label): f"the source's label {one_line(label)}" for label in labels}
        while len(options) < 2:
            options[f"other-{len(options)}"] = "the source has no such way"
        step.options = tuple(options)
        step.build = partial(_condition, task, about, options)
    else:
        step.build = partial(_work, flow, task, about, kind)
    return step


def _option(label: str) -> str:
    return slug("default" if label == "#default#" else label, "option")


def _work(flow: Flow, task: dict[str, Any], about: dict[str, Any], kind: str, scope: Scope) -> Built:
    title, text = one_line(about.get("name") or "task"), str(about.get("description") or "")
    if task.get("loop"):
        return by_hand(title, f"{title}, repeated as the source's loop says. {text}", "an SOP has no loops")
    if kind == "playbook":
        inner = about.get("playbookName") or about.get("playbookId") or title
        return by_hand(title, f"the playbook {inner}. {text}", "a playbook of its own; import it as an SOP")
    if kind == "collection":
        return by_hand(
            title, f"ask for what the form of this task asks. {text}", "a form; make inputs of its questions"
        )
    script = str(about.get("script") or about.get("scriptName") or "")
    if not script:
        built = Built([approval(title, text or title)], "mapped", "a manual task")
        return (
            built
            if kind == "regular"
            else by_hand(title, text, f"`{kind[:60]}` is no kind of task that the importer knows")
        )
    brand, _, command = script.rpartition("|||")
    brand = (
        brand
        or str(about.get("brand") or "")
        or ("xsoar-commands" if about.get("iscommand") is True else "xsoar-scripts")
    )
    arguments, good = _arguments(task.get("scriptarguments"), scope)
    body: dict[str, Any] = {"title": title, "tool": flow.tool(brand, command)}
    if arguments:
        body["arguments"] = arguments
    note = f"the fleet needs a server `{slug(brand, 'source')}` with a tool `{command[:80]}`"
    if not good:
        note += "; arguments that come from XSOAR's context stand as text"
    is_command = about.get("iscommand") is True and good and task.get("continueonerror") is not True
    return Built([body], "mapped" if is_command else "approximated", note)


def _arguments(declared: Any, scope: Scope) -> tuple[dict[str, Any], bool]:
    found: dict[str, Any] = {}
    good = True
    for name, value in declared.items() if isinstance(declared, dict) else ():
        simple = value.get("simple") if isinstance(value, dict) else None
        if simple is None:
            good = good and not value
            continue
        found[str(name)], fits = _text(str(simple), scope)
        good = good and fits
    return found, good


def _text(text: str, scope: Scope) -> tuple[str, bool]:
    parts, good, end = [], True, 0
    for match in _CONTEXT.finditer(text):
        parts.append(literal(clean_keep(text[end : match.start()])))
        named = _INPUT.fullmatch(match[0])
        known = scope.inputs.get(named[1]) if named else None
        good = good and known is not None
        parts.append(literal(clean_keep(match[0])) if known is None else f"{{{{ inputs.{known} }}}}")
        end = match.end()
    return "".join([*parts, literal(clean_keep(text[end:]))]), good


def _condition(task: dict[str, Any], about: dict[str, Any], options: dict[str, str], scope: Scope) -> Built:
    title = one_line(about.get("name") or "condition")
    conditions = task.get("conditions")
    rule = _rule(conditions, options, scope) if isinstance(conditions, list) and conditions else None
    if rule is None:
        how = str(about.get("description") or "") + (f"\n{conditions}" if conditions else "")
        return asked(title, title, options, how or title)
    return Built([{"title": title, "decision": {"question": literal(title), "options": options, "rule": rule}}])


def _rule(conditions: list[Any], options: dict[str, str], scope: Scope) -> str | None:
    if len(conditions) > 15 or "default" not in options:
        return None
    rule = "'default'"
    for one in reversed(conditions):
        label = _option(str(one.get("label"))) if isinstance(one, dict) else ""
        groups = one.get("condition") if isinstance(one, dict) else None
        if label not in options or not isinstance(groups, list) or not 0 < len(groups) <= 5:
            return None
        tests: list[str] = []
        for group in groups:  # all of the groups, any test of a group
            parts = [_test(test, scope) for test in group] if isinstance(group, list) else []
            if not parts or len(parts) > 5 or None in parts:
                return None
            tests.append(f"({' or '.join(str(part) for part in parts)})")
        rule = f"'{label}' if {' and '.join(tests)} else ({rule})"
    return rule


def _test(test: Any, scope: Scope) -> str | None:
    if not isinstance(test, dict) or test.get("operator") not in _OPERATORS:
        return None
    left, right = _operand(test.get("left"), scope), _operand(test.get("right"), scope)
    number = "Number" in str(test["operator"]) or "Than" in str(test["operator"])
    if left is None or right is None:
        return None
    left, right = (f"({left} | float)", f"({right} | float)") if number else (left, right)
    return f"{left} {_OPERATORS[str(test['operator'])]} {right}"


def _operand(side: Any, scope: Scope) -> str | None:
    value = side.get("value") if isinstance(side, dict) else None
    simple = value.get("simple") if isinstance(value, dict) else None
    if simple is None or not isinstance(side, dict):
        return None
    text = str(simple)
    named = _INPUT.fullmatch(text if text.startswith("${") else f"${{{text}}}")
    if side.get("iscontext") is True or text.startswith("${"):
        known = scope.inputs.get(named[1]) if named else None
        return None if known is None else f"inputs.{known}"
    plain = text.isprintable() and len(text) <= 200 and not set(text) & set("'\\{}")
    return f"'{text}'" if plain else None
