"""Whether a value has expressions in it: most have none, and need no Jinja2, which takes 20 ms of CPU to load."""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["has_expressions"]


def has_expressions(value: object) -> bool:
    """Return whether a string anywhere in a JSON value is a template, right or wrong."""
    if isinstance(value, str):
        return "{{" in value or "{%" in value
    if isinstance(value, Mapping):
        return any(has_expressions(item) for item in value.values())
    if isinstance(value, list | tuple):
        return any(has_expressions(item) for item in value)
    return False
