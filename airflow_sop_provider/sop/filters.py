"""Filters, tests and methods that expressions may use.

Jinja2's own, less what is random, made for HTML, or unbounded; those that could turn small values
into large ones are replaced by bounded ones with the same names and arguments.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from jinja2 import Environment, pass_environment
from jinja2.filters import FILTERS as STANDARD_FILTERS
from jinja2.filters import do_batch, do_indent, do_round, make_attrgetter
from jinja2.tests import TESTS as STANDARD_TESTS

from airflow_sop_provider.sop.bounds import LimitError, bounded, calculate, joined, json_value, limit, percent, spend
from airflow_sop_provider.sop.bounds import text_of as string

__all__ = ["FILTERS", "METHODS", "TESTS", "method"]

_PLAIN = (
    "abs capitalize count d default dictsort first float groupby int items last length lower map max min reject "
    "rejectattr reverse select selectattr sort title trim truncate unique upper urlencode wordcount"
)
_TESTS = (
    "odd even divisibleby defined undefined none boolean false true integer float lower upper string mapping number "
    "sequence iterable in == eq equalto != ne > gt greaterthan ge >= < lt lessthan <= le"
)
_WIDEST = 1000
_TEXT_METHODS = (
    "capitalize casefold count endswith find index isalnum isalpha isascii isdecimal isdigit islower isnumeric isspace "
    "istitle isupper join lower lstrip partition removeprefix removesuffix replace rfind rindex rpartition rsplit "
    "rstrip split splitlines startswith strip swapcase title upper"
)
METHODS: dict[type, frozenset[str]] = {
    str: frozenset(_TEXT_METHODS.split()),
    dict: frozenset({"get", "items", "keys", "values"}),
    list: frozenset({"count", "index"}),
    tuple: frozenset({"count", "index"}),
}
"""Methods of values that expressions may call."""


def _counted(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return the filter with its result counted; Jinja2's marks on the function are kept."""

    @functools.wraps(function)
    def counted(*args: Any, **kwargs: Any) -> Any:
        return bounded(function(*args, **kwargs))

    return counted


def _counting(values: Iterable[Any]) -> Iterator[Any]:
    for value in values:
        spend(0)
        yield value


def _list(value: Iterable[Any]) -> list[Any]:
    return list(_counting(value))


@pass_environment
def _join(environment: Environment, value: Iterable[Any], d: str = "", attribute: str | int | None = None) -> str:
    items = _counting(value)
    if attribute is not None:
        items = map(make_attrgetter(environment, attribute), items)
    return joined(list(items), d)


@pass_environment
def _sum(environment: Environment, iterable: Iterable[Any], attribute: str | int | None = None, start: Any = 0) -> Any:
    items = _counting(iterable)
    if attribute is not None:
        items = map(make_attrgetter(environment, attribute), items)
    if isinstance(start, list):
        flat = list(start)
        for item in items:
            limit(len(item))
            flat.extend(item)
        return bounded(flat)
    return functools.reduce(functools.partial(calculate, "+"), items, start)


def _batch(value: Iterable[Any], linecount: int, fill_with: Any = None) -> Iterator[list[Any]]:
    if not 1 <= linecount <= 100_000:
        raise LimitError("batch() makes groups of 1 to 100000 items")
    for group in do_batch(_counting(value), linecount, fill_with):
        yield bounded(group)


def _replace(value: Any, old: str, new: str, count: int | None = None) -> str:
    return _replaced(string(value), string(old), string(new), -1 if count is None else count)


def _replaced(text: str, old: str, new: str, count: int = -1) -> str:
    times = text.count(old) if count < 0 else min(count, text.count(old))
    limit(len(text) + times * max(0, len(new) - len(old)))
    return text.replace(old, new, count)


def _indent(s: str, width: int | str = 4, first: bool = False, blank: bool = False) -> str:
    size = width if isinstance(width, int) else len(width)
    if size > _WIDEST:
        raise LimitError(f"indent() is at most {_WIDEST} wide")
    limit(len(s) + (s.count("\n") + 1) * max(0, size))
    return str(do_indent(s, width, first, blank))


def _round(value: float, precision: int = 0, method: Any = "common") -> float:
    if abs(precision) > 30:
        raise LimitError("round() takes a precision of -30 to 30")
    return float(do_round(value, precision, method))


def _format(value: str, *args: Any, **kwargs: Any) -> str:
    return str(percent(string(value), kwargs or args))


def _tojson(value: Any, indent: int | None = None) -> str:
    if indent is not None and not 0 <= indent <= 8:
        raise LimitError("tojson() indents by 0 to 8")
    text = json.dumps(json_value(value), indent=indent, ensure_ascii=False)
    limit(len(text))
    return text


_OURS: dict[str, Callable[..., Any]] = {
    "batch": _batch, "format": _format, "indent": _indent, "join": _join, "list": _list, "replace": _replace,
    "round": _round, "string": string, "sum": _sum, "tojson": _tojson,
}  # fmt: skip
FILTERS: dict[str, Callable[..., Any]] = {
    **{name: _counted(STANDARD_FILTERS[name]) for name in _PLAIN.split()},
    **{name: _counted(function) for name, function in _OURS.items()},
}
"""Filters by name."""

_STANDARD_TESTS: Mapping[str, Any] = STANDARD_TESTS
TESTS: dict[str, Callable[..., Any]] = {name: _STANDARD_TESTS[name] for name in _TESTS.split()}
"""Tests (after ``is``) by name."""


def method(value: Any, name: str) -> Callable[..., Any] | None:
    """Return the method of a value, None if expressions may not call it."""
    kind = dict if isinstance(value, Mapping) else type(value)
    if name not in METHODS.get(kind, ()):
        return None
    if kind is str and name == "join":
        return lambda values: joined(list(_counting(values)), value)
    if kind is str and name == "replace":
        return functools.partial(_replaced, value)
    return _counted_method(getattr(value, name))


def _counted_method(bound: Callable[..., Any]) -> Callable[..., Any]:
    return lambda *args, **kwargs: bounded(bound(*args, **kwargs))
