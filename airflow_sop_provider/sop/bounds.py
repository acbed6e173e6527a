"""Bounds on what an expression may produce, checked before it is produced.

Single values are bounded by `MAX_LENGTH` and `MAX_BITS`; everything one evaluation produces is
bounded together by a budget, as many bounded values in one list are unbounded again.
"""

from __future__ import annotations

import json
import math
import operator
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextvars import ContextVar
from typing import Any

from jinja2.runtime import Undefined

__all__ = [
    "BUDGET",
    "MAX_BITS",
    "MAX_LENGTH",
    "LimitError",
    "bounded",
    "bounded_range",
    "calculate",
    "joined",
    "json_value",
    "limit",
    "new_budget",
    "percent",
    "spend",
    "text_of",
]

MAX_LENGTH = 1_000_000
"""Longest text (characters) or list (items) that an expression may produce."""

MAX_BITS = 10_000
"""Largest whole number, bits."""

BUDGET = 10_000_000
"""Characters and items that one evaluation may produce in all."""

_WIDEST = 1000
_DEPTH = 100
_WIDTHS = re.compile(r"[0-9]+|\*")
_DIRECTIVE = re.compile(r"%(\([^)]*\))?([-#0 +]*)([0-9*]*(?:\.[0-9*]*)?)")
_left: ContextVar[list[int]] = ContextVar("sop_expression_budget")


class LimitError(ValueError):
    """An expression would produce more than it may."""


def new_budget() -> None:
    """Start the budget of one evaluation."""
    _left.set([BUDGET])


def spend(amount: int) -> None:
    """Take `amount` characters or items from the budget.

    :raises LimitError: it is used up.
    """
    left = _left.get()
    left[0] -= amount + 1
    if left[0] < 0:
        raise LimitError(f"the expression produces more than {BUDGET} characters and items in all")


def limit(length: int) -> int:
    """Spend and return a length that is about to be produced.

    :raises LimitError: above `MAX_LENGTH`, or the budget is used up.
    """
    if length > MAX_LENGTH:
        raise LimitError(f"the expression produces a text or list longer than {MAX_LENGTH}")
    spend(length)
    return length


def bounded(value: Any) -> Any:
    """Return `value` after counting it.

    :raises LimitError: too long a text or list, or too large a number.
    """
    if isinstance(value, str | list | tuple | Mapping):
        limit(len(value))
    elif isinstance(value, int) and value.bit_length() > MAX_BITS:
        raise LimitError(f"the expression produces a number of more than {MAX_BITS} bits")
    return value


def bounded_range(*arguments: int) -> range:
    """Return ``range(...)``, of at most 100,000 numbers as Jinja2's sandbox has it."""
    numbers = range(*arguments)
    if len(numbers) > 100_000:
        raise LimitError("range() gives at most 100000 numbers")
    spend(len(numbers))
    return numbers


def _power(left: Any, right: Any) -> Any:
    if isinstance(left, int) and isinstance(right, int) and left.bit_length() * abs(right) > MAX_BITS:
        raise LimitError(f"the expression produces a number of more than {MAX_BITS} bits")
    result = operator.pow(left, right)
    if isinstance(result, complex):
        raise ValueError("the result is not a real number")
    return result


def _times(left: Any, right: Any) -> Any:
    for text, count in ((left, right), (right, left)):
        if isinstance(text, str | list | tuple) and isinstance(count, int):
            limit(len(text) * max(0, count))
    return left * right


def _plus(left: Any, right: Any) -> Any:
    if isinstance(left, str | list | tuple) and isinstance(right, str | list | tuple):
        limit(len(left) + len(right))
    return left + right


def percent(left: Any, right: Any) -> Any:
    """Return ``left % right``, with bounded widths if `left` is a format."""
    if isinstance(left, str):
        length = len(left)
        for directive in _DIRECTIVE.findall(left):
            for width in _WIDTHS.findall(directive[2]):
                if width == "*" or int(width[:6]) > _WIDEST:
                    raise LimitError(f"a width in a format is a number up to {_WIDEST}")
                length += int(width)
        values = right if isinstance(right, tuple) else (right,)
        if isinstance(right, Mapping):  # each may be used again and again
            values = tuple(right.values()) * max(1, left.count("%("))
        limit(length + sum(len(text_of(value)) for value in values))
    return left % right


_OPERATORS: dict[str, Callable[[Any, Any], Any]] = {
    "+": _plus, "-": operator.sub, "*": _times, "/": operator.truediv, "//": operator.floordiv,
    "%": percent, "**": _power,
}  # fmt: skip


def calculate(operation: str, left: Any, right: Any) -> Any:
    """Return the bounded result of a binary operator."""
    return bounded(_OPERATORS[operation](left, right))


def json_value(value: Any, depth: int = 0) -> Any:
    """Return `value` as JSON data: iterators become lists, everything is counted.

    :raises TypeError: something in it is not JSON.
    :raises LimitError: it is too large or too deep.
    """
    if depth > _DEPTH:
        raise LimitError(f"the result is nested more than {_DEPTH} deep")
    if isinstance(value, Undefined):
        value._fail_with_undefined_error()  # says what is missing; a plain Undefined would read as nothing
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str | int):
        return bounded(value)
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError(f"{value} is not a number JSON can hold")
        return value
    if isinstance(value, Mapping):
        return {_key(key): json_value(item, depth + 1) for key, item in value.items()}
    if isinstance(value, Iterable) and not isinstance(value, bytes):
        result = []
        for item in value:
            result.append(json_value(item, depth + 1))
            if len(result) > MAX_LENGTH:
                limit(len(result))
            spend(0)
        return result
    raise TypeError(f"a value of type {type(value).__name__} is not JSON")


def _key(key: Any) -> str:
    if not isinstance(key, str):
        raise TypeError(f"the key {key!r} of a mapping is not text")
    spend(len(key))
    return key


def text_of(value: Any) -> str:
    """Return `value` as it reads inside text: text as it is, everything else as JSON."""
    if isinstance(value, str):
        return value
    return json.dumps(json_value(value), ensure_ascii=False)


def joined(values: Sequence[Any], separator: str = "") -> str:
    """Return the texts of `values` with `separator` between them."""
    parts = [text_of(value) for value in values]
    limit(sum(map(len, parts)) + len(separator) * len(parts))
    return separator.join(parts)
