"""Whether an output is what a case expects."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from typing import Any

from airflow_sop_provider.evals.models import Comparison, How
from airflow_sop_provider.evals.paths import MISSING

__all__ = ["applied", "differs"]


def applied(comparison: Comparison, how: How | None) -> Comparison:
    """Return the comparison of a bare value as the suite wants that path compared."""
    if how is None or comparison.way != "equals" or how.way == "equals":
        return comparison
    fields: dict[str, Any] = {how.way: comparison.equals}
    if how.way == "near":
        fields |= {name: value for name in ("tolerance", "relative") if (value := getattr(how, name)) is not None}
    return Comparison.model_validate(fields, strict=False)


def differs(actual: Any, wanted: Comparison) -> str | None:
    """Return why `actual` is not what is wanted, None if it is.

    :param actual: a JSON value or `MISSING`.
    """
    way = wanted.way
    if way == "absent":
        if (actual is MISSING) is bool(wanted.absent):
            return None
        return "there is such an output" if wanted.absent else _NO
    if actual is MISSING:
        return _NO
    return _WAYS[way](actual, wanted)


_NO = "there is no such output"


def same(one: Any, other: Any) -> bool:
    """Whether two JSON values are the same; true is not 1, 1.0 is 1."""
    return bool(_key(one) == _key(other))


def _key(value: Any) -> Any:
    """Return what stands for a JSON value in comparisons and sets."""
    if isinstance(value, bool) or value is None:
        return ("constant", value)
    if isinstance(value, int | float):
        return ("number", value)
    if isinstance(value, str):
        return ("text", value)
    if isinstance(value, Mapping):
        return ("mapping", frozenset((name, _key(item)) for name, item in value.items()))
    return ("list", tuple(_key(item) for item in value))


def _equals(actual: Any, wanted: Comparison) -> str | None:
    return None if same(actual, wanted.equals) else f"expected {_shown(wanted.equals)}"


def _near(actual: Any, wanted: Comparison) -> str | None:
    assert wanted.near is not None
    if isinstance(actual, bool) or not isinstance(actual, int | float):
        return f"expected a number near {wanted.near:g}"
    allowed = max(wanted.tolerance or 0.0, (wanted.relative or 0.0) * abs(wanted.near))
    distance = abs(float(actual) - wanted.near)
    if distance <= allowed or math.isclose(distance, allowed, rel_tol=1e-12):
        return None
    return f"expected {wanted.near:g}, at most {allowed:g} away; it is {distance:g} away"


def _matches(actual: Any, wanted: Comparison) -> str | None:
    assert wanted.matches is not None
    fits = isinstance(actual, str) and re.fullmatch(wanted.matches, actual, re.DOTALL) is not None
    return None if fits else f"expected text that matches {_shown(wanted.matches)}"


def _set(actual: Any, wanted: Comparison) -> str | None:
    assert wanted.set is not None
    if not isinstance(actual, list):
        return "expected a list"
    missing = [item for item in wanted.set if _key(item) not in {_key(one) for one in actual}]
    surplus = [item for item in actual if _key(item) not in {_key(one) for one in wanted.set}]
    parts = [f"lacks {_shown(missing)}"] * bool(missing) + [f"has {_shown(surplus)} besides"] * bool(surplus)
    return ", ".join(parts) or None


def _contains(actual: Any, wanted: Comparison) -> str | None:
    assert wanted.contains is not None
    if isinstance(actual, str):
        missing = [item for item in wanted.contains if not (isinstance(item, str) and item in actual)]
    elif isinstance(actual, list):
        missing = [item for item in wanted.contains if _key(item) not in {_key(one) for one in actual}]
    else:
        return "expected a list or text"
    return f"lacks {_shown(missing)}" if missing else None


def _one_of(actual: Any, wanted: Comparison) -> str | None:
    assert wanted.one_of is not None
    fits = any(same(actual, item) for item in wanted.one_of)
    return None if fits else f"expected one of {_shown(wanted.one_of)}"


_WAYS = {
    "equals": _equals, "near": _near, "matches": _matches, "set": _set, "contains": _contains, "one_of": _one_of,
}  # fmt: skip


def _shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 200 else f"{text[:200]}…"
