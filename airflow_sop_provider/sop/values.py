"""Values checked against the JSON Schemas of an SOP, by `jsonschema`, imported when the first one is."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Mapping
from typing import Any

__all__ = ["default_error", "value_errors"]


def value_errors(value: Any, schema: Mapping[str, Any]) -> list[str]:
    """Return what is wrong with a value, a sentence each with the place in it; empty if it fits the schema."""
    found = sorted(_validator(json.dumps(schema)).iter_errors(value), key=lambda error: error.json_path)
    return [f"{error.json_path}: {error.message[:500]}" for error in found]


@functools.lru_cache(maxsize=64)
def _validator(schema: str) -> Any:
    from jsonschema import Draft202012Validator

    return Draft202012Validator(json.loads(schema))


_ANNOTATIONS = frozenset({"title", "description", "default", "examples", "section", "description_md", "deprecated"})
_FITS: dict[str, Callable[[Any], bool]] = {
    "string": lambda value: isinstance(value, str),
    "boolean": lambda value: isinstance(value, bool),
    "integer": lambda value: isinstance(value, int) and not isinstance(value, bool),
    "null": lambda value: value is None,
}


def default_error(schema: Mapping[str, Any]) -> str | None:
    """Return why the `default` of a valid schema breaks it, None if it fits or there is none.

    Patterns and references are left out: a hostile pattern takes for ever, and this runs wherever an SOP
    is read. They hold when an execution's conf is checked.
    """
    if "default" not in schema:
        return None
    kind, default = schema.get("type"), schema["default"]
    if isinstance(kind, str) and kind in _FITS and set(schema) - {"type"} <= _ANNOTATIONS:
        return None if _FITS[kind](default) else f"{json.dumps(default)[:80]} is not of type {kind}"
    try:
        errors = value_errors(default, _without_patterns(schema))
    except RecursionError:
        return "it is nested too deep"
    return errors[0].removeprefix("$: ") if errors else None


def _without_patterns(schema: Any) -> Any:
    if isinstance(schema, Mapping):
        return {key: _without_patterns(value) for key, value in schema.items()
                if key not in ("pattern", "patternProperties", "$ref", "$dynamicRef", "format")}  # fmt: skip
    return [_without_patterns(item) for item in schema] if isinstance(schema, list) else schema
