"""Schemas as structured output wants them: every property is required, and what was optional may be null.

Servers that hold an answer to a schema ask for this form (OpenAI's `strict`), and ADK makes every property required in
any case: without the null a model would have to invent a value for each optional argument.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["as_strict", "without_nulls"]


def as_strict(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Return a copy whose optional properties are required and nullable, at every level.

    References to its own `$defs` are replaced by what they name, so that it can be part of another schema.
    """
    return _strict(schema, schema, frozenset())


def without_nulls(value: Any, schema: Mapping[str, Any]) -> Any:
    """Return a value of `as_strict`'s schema without the nulls that stand for what was left out."""
    return _without(value, schema, schema)


def _strict(schema: Mapping[str, Any], root: Mapping[str, Any], inside: frozenset[str]) -> dict[str, Any]:
    reference = schema.get("$ref")
    if isinstance(reference, str):
        if reference in inside:
            return {}  # it holds itself; what is in there is checked when the call is made
        return _strict(_named(reference, root), root, inside | {reference})
    strict = {key: value for key, value in schema.items() if key not in _LEFT_OUT}
    for key in ("anyOf", "oneOf", "allOf"):
        if key in strict:
            strict[key] = [_strict(one, root, inside) for one in strict[key]]
    if isinstance(strict.get("items"), Mapping):
        strict["items"] = _strict(strict["items"], root, inside)
    if isinstance(strict.get("properties"), Mapping):
        required = set(schema.get("required") or ())
        properties = {name: _strict(one, root, inside) for name, one in strict["properties"].items()}
        strict["properties"] = {
            name: one if name in required else {"anyOf": [one, {"type": "null"}]} for name, one in properties.items()
        }
        strict |= {"type": "object", "required": list(properties), "additionalProperties": False}
    return strict


def _without(value: Any, schema: Mapping[str, Any], root: Mapping[str, Any]) -> Any:
    if isinstance(schema.get("$ref"), str):
        return _without(value, _named(schema["$ref"], root), root)
    if isinstance(value, list) and isinstance(schema.get("items"), Mapping):
        return [_without(one, schema["items"], root) for one in value]
    properties = schema.get("properties")
    if not isinstance(value, dict) or not isinstance(properties, Mapping):
        return value
    required = set(schema.get("required") or ())
    return {
        name: _without(one, properties.get(name) or {}, root)
        for name, one in value.items()
        if one is not None or name in required or name not in properties
    }


def _named(reference: str, root: Mapping[str, Any]) -> Mapping[str, Any]:
    found: Any = root
    for part in reference.removeprefix("#/").split("/"):
        found = found.get(part) if isinstance(found, Mapping) else None
    return found if isinstance(found, Mapping) else {}


_LEFT_OUT = ("title", "default", "$schema", "$defs", "definitions")
"""Of a schema that becomes a part of another."""
