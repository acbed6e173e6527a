"""Values that leave a step: JSON and nothing else, of bounded size.

Expressions yield Python values. What has no JSON form is refused by name here, rather than
turned into text that a later step would silently misread.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Mapping
from typing import Any

from airflow_sop_provider.runner.failures import bad_data

__all__ = ["MAX_ITEMS", "OUTPUTS_LIMIT", "check_size", "digest", "to_items", "to_json"]

OUTPUTS_LIMIT = 256 * 1024
"""Bytes of a step's outputs as JSON: they become an XCom, a row in Airflow's database."""

MAX_ITEMS = 1024
"""Items of a ``for_each``: Airflow's ``[core] max_map_length`` by default."""

_MAX_DEPTH = 100
"""Levels of nesting; deeper values would exhaust the stack of whoever reads them."""


def to_json(value: object, where: str) -> Any:
    """Return ``value`` as a JSON value: mappings with text keys, lists for other iterables.

    :param where: name of the value in error messages.
    :raises StepFailureError: exit 65 (``not-json``) if it has no JSON form.
    """
    return _to_json(value, where, 0)


def _to_json(value: object, where: str, depth: int) -> Any:
    if depth > _MAX_DEPTH:
        raise bad_data("not-json", f"`{where}` is nested more than {_MAX_DEPTH} levels deep.")
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, str):
        return str(value)  # subclasses of str (Markup) carry behaviour that JSON does not
    if isinstance(value, float):
        if math.isfinite(value):
            return value
        raise bad_data("not-json", f"`{where}` is {value}, which JSON cannot hold.")
    if isinstance(value, Mapping):
        return {_key(key, where): _to_json(item, f"{where}.{key}", depth + 1) for key, item in value.items()}
    if isinstance(value, set | frozenset):
        value = sorted(value, key=repr)
    if isinstance(value, Iterable) and not isinstance(value, bytes | bytearray) and not _is_undefined(value):
        return [_to_json(item, f"{where}[{index}]", depth + 1) for index, item in enumerate(value)]
    raise bad_data("not-json", f"`{where}` is a {type(value).__name__}, which has no JSON form.")


def to_items(value: object) -> list[Any]:
    """Return the items of a ``for_each``.

    :raises StepFailureError: exit 65 if it is not a list (``for-each-not-a-list``) or has more than
        `MAX_ITEMS` items (``for-each-too-long``).
    """
    if isinstance(value, str | bytes | Mapping) or not isinstance(value, Iterable):
        raise bad_data("for-each-not-a-list", f"`for_each` is a {type(value).__name__}; it must be a list.")
    items: list[Any] = to_json(value, "for_each")
    if len(items) > MAX_ITEMS:
        raise bad_data(
            "for-each-too-long",
            f"`for_each` has {len(items)} items; Airflow maps a task over {MAX_ITEMS} at most. Group the items.",
        )
    return items


def check_size(value: object, limit: int = OUTPUTS_LIMIT) -> int:
    """Return the bytes of ``value`` as JSON.

    :raises StepFailureError: exit 65 (``output-too-large``) if they are more than ``limit``.
    """
    size = len(json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "surrogatepass"))
    if size > limit:
        raise bad_data(
            "output-too-large",
            f"The outputs are {size:,} bytes, more than the {limit:,} a step may pass on. "
            "Ask for less (a page, a summary), or split the step with `for_each`.",
            bytes=size,
            limit=limit,
        )
    return size


def digest(value: object) -> str:
    """Return the SHA-256 (hex) of a JSON value in canonical form: sorted keys, no spaces."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _key(key: object, where: str) -> str:
    if isinstance(key, str):
        return str(key)
    raise bad_data("not-json", f"A key of `{where}` is {key!r}; JSON has only text keys.")


def _is_undefined(value: object) -> bool:
    return any(base.__name__ == "Undefined" for base in type(value).__mro__)  # Jinja2 is not imported for this
