"""Parameters, references and durations of SSM Automation documents."""

from __future__ import annotations

import re
from typing import Any

from airflow_sop_provider.contract.assignment import RESERVED_CONF_KEYS
from airflow_sop_provider.importers.flow import Scope
from airflow_sop_provider.importers.texts import clean, comment, identifier, literal

__all__ = ["input_schemas", "iso_seconds", "reference", "translated"]

_TYPES: dict[str, dict[str, Any]] = {
    "String": {"type": "string"}, "StringList": {"type": "array", "items": {"type": "string"}},
    "Boolean": {"type": "boolean"}, "Integer": {"type": "integer"}, "StringMap": {"type": "object"},
    "MapList": {"type": "array", "items": {"type": "object"}},
}  # fmt: skip
_REFERENCE = re.compile(r"\{\{\s*([A-Za-z][\w:.-]*)\s*\}\}")
_SELECTOR = re.compile(r"\$((?:\.[A-Za-z_]\w*|\[\d+\])*)")
_DURATION = re.compile(r"P(?:(\d+)D)?(?:T(?:(\d+)H)?(?:(\d+)M)?(?:(\d+)S)?)?")


def input_schemas(parameters: Any) -> tuple[dict[str, tuple[str, dict[str, Any]]], list[str]]:
    """Return name -> (input, schema) of the parameters, and notes on what of them was left out."""
    found: dict[str, tuple[str, dict[str, Any]]] = {}
    notes: list[str] = []
    taken: set[str] = set()
    for name, said in parameters.items() if isinstance(parameters, dict) else ():
        declared = said if isinstance(said, dict) else {}
        kind = str(declared.get("type", "String"))
        schema = dict(_TYPES.get(kind.removeprefix("List<").rstrip(">") if kind.startswith("List<") else kind, {}))
        if not schema:
            schema = dict(_TYPES["StringList" if kind.startswith("List<") else "String"])
        if text := clean(declared.get("description") or "", 500):
            schema["description"] = text
        values = declared.get("allowedValues")
        if isinstance(values, list) and values and schema["type"] in ("string", "integer", "boolean"):
            schema["enum"] = values
        if declared.get("allowedPattern"):
            notes.append(
                f"parameter {comment(name)}: `allowedPattern` is left out, patterns are of another language there"
            )
        if "default" in declared and _fits(declared["default"], schema):
            schema["default"] = declared["default"]
        elif "default" in declared:
            notes.append(f"parameter {comment(name)}: its default does not fit its type and is left out")
        found[str(name)] = (identifier(name, taken, RESERVED_CONF_KEYS), schema)
    return found, notes


def _fits(value: Any, schema: dict[str, Any]) -> bool:
    from jsonschema import Draft202012Validator

    return Draft202012Validator(schema).is_valid(value)


def translated(value: Any, scope: Scope, by_name: dict[str, Any]) -> tuple[Any, bool]:
    """Return a value with references as expressions, and whether all of them could be followed."""
    if isinstance(value, str):
        return _text(value, scope, by_name)
    if isinstance(value, dict):
        parts = {str(key): translated(item, scope, by_name) for key, item in value.items()}
        return {key: part for key, (part, _) in parts.items()}, all(good for _, good in parts.values())
    if isinstance(value, list):
        listed = [translated(item, scope, by_name) for item in value]
        return [part for part, _ in listed], all(good for _, good in listed)
    return value, True


def _text(text: str, scope: Scope, by_name: dict[str, Any]) -> tuple[str, bool]:
    parts: list[str] = []
    good, end = True, 0
    for match in _REFERENCE.finditer(text):
        parts.append(literal(clean_keep(text[end : match.start()])))
        expression = reference(match[1], scope, by_name)
        good = good and expression is not None
        parts.append(literal(match[0]) if expression is None else f"{{{{ {expression} }}}}")
        end = match.end()
    return "".join([*parts, literal(clean_keep(text[end:]))]), good


def clean_keep(text: str) -> str:
    """Return text without what YAML cannot hold, blanks kept: it is a value, not prose."""
    return "".join(char if char.isprintable() or char in "\n\t" else "\N{REPLACEMENT CHARACTER}" for char in text)


def reference(name: str, scope: Scope, by_name: dict[str, Any]) -> str | None:
    """Return the expression that reads what a reference of the source names, None if there is none."""
    if name in scope.inputs:
        return f"inputs.{scope.inputs[name]}"
    if name == "automation:EXECUTION_ID":
        return "execution.run_id"
    step, _, output = name.partition(".")
    declared = by_name.get(step)
    if step not in scope.outputs or not isinstance(declared, dict) or not isinstance(declared.get("outputs"), list):
        return None
    for one in declared["outputs"]:
        selector = _SELECTOR.fullmatch(str(one.get("Selector"))) if isinstance(one, dict) else None
        if selector and one.get("Name") == output:
            return f"steps.{scope.outputs[step]}{selector[1]}"
    return None


def iso_seconds(text: str) -> int | None:
    """Return the seconds of an ISO 8601 duration up to days, None for anything else."""
    match = _DURATION.fullmatch(text)
    if match is None or not any(match.groups()) or len(text) > 20:
        return None
    days, hours, minutes, seconds = (int(part or 0) for part in match.groups())
    return ((days * 24 + hours) * 60 + minutes) * 60 + seconds
