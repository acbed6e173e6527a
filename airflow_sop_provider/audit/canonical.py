"""Canonical JSON: one text for one value, so that a hash of it says something about the value.

The rules are those of RFC 8785 (JSON Canonicalization Scheme): keys sorted by UTF-16 code units, no white space, UTF-8,
numbers as ECMAScript writes them. Two things it leaves to others are fixed here. Integers are written with all their
digits, however many: RFC 8785 would round them to a double. And what is no JSON is made JSON (`jsonable`) before an
entry is built, not while it is hashed, so that what is stored is what was hashed.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from datetime import date
from typing import Any

__all__ = ["MAX_DEPTH", "NotCanonicalError", "canonical", "jsonable", "parse"]

MAX_DEPTH = 64
"""Levels of nesting that are kept; what lies deeper becomes text, as no reader of JSON likes it."""

_REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
_LARGEST_PLAIN_EXPONENT = 21
_SMALLEST_PLAIN_EXPONENT = -6


class NotCanonicalError(ValueError):
    """A value has no canonical JSON, or a text is not the canonical JSON of its value."""


def canonical(value: Any) -> bytes:
    """Return the canonical JSON of a JSON value.

    :raises NotCanonicalError: for what is no JSON: NaN, infinities, lone surrogates, keys that are not text, objects.
    """
    try:
        return _text(value).encode()
    except UnicodeEncodeError as error:
        raise NotCanonicalError("A text has half of a surrogate pair, which UTF-8 cannot hold.") from error
    except RecursionError as error:
        raise NotCanonicalError("The value is nested too deeply.") from error


def parse(text: bytes | str) -> Any:
    """Return the value of a text that must be canonical: each byte counts, and no key comes twice.

    :raises NotCanonicalError: if it is no JSON, or not the canonical one.
    """
    data = text.encode(errors="surrogatepass") if isinstance(text, str) else text
    try:
        value = json.loads(data.decode())
    except (ValueError, RecursionError) as error:
        raise NotCanonicalError(f"This is no JSON: {error}") from error
    if canonical(value) != data:
        raise NotCanonicalError("This is not the canonical form of its value: something in the text was changed.")
    return value


def jsonable(value: Any, depth: int = MAX_DEPTH) -> Any:
    """Return a JSON value that stands for ``value`` and that every database can hold.

    Times become ISO text, tuples and sets lists, NaN and infinities text, anything else its ``str``. NUL characters,
    which PostgreSQL refuses, and lone surrogates become U+FFFD. Never raises for anything that has a ``str``.
    """
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return _clean(value)
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else str(value)
    if isinstance(value, date):
        return value.isoformat()
    if depth <= 0:
        return _clean(str(value))
    if isinstance(value, Mapping):
        return {_clean(str(key)): jsonable(item, depth - 1) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [jsonable(item, depth - 1) for item in value]
    if isinstance(value, set | frozenset):
        return sorted((jsonable(item, depth - 1) for item in value), key=_text)
    return _clean(str(value))


def _clean(text: str) -> str:
    if "\0" in text:
        text = text.replace("\0", _REPLACEMENT)
    try:
        text.encode()
    except UnicodeEncodeError:
        text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return str(text)


def _text(value: Any) -> str:
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, float):
        return _number(value)
    if isinstance(value, dict):
        return "{" + ",".join(f"{_text(key)}:{_text(value[key])}" for key in sorted(value, key=_sort_key)) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(_text, value)) + "]"
    if value is None or isinstance(value, int):
        return json.dumps(value)
    raise NotCanonicalError(f"A {type(value).__name__} is no JSON value.")


def _sort_key(key: object) -> bytes:
    if not isinstance(key, str):
        raise NotCanonicalError(f"A key of an object is a {type(key).__name__}; only text may be.")
    return key.encode("utf-16-be", "surrogatepass")


def _number(value: float) -> str:
    """Return a double as ECMAScript's Number::toString does (ECMA-262, section 6.1.6.1.20)."""
    if not math.isfinite(value):
        raise NotCanonicalError(f"{value} is no JSON number.")
    if value == 0:
        return "0"
    sign = "-" if value < 0 else ""
    # repr gives the shortest digits that read back as the same double, which is what ECMAScript asks for, too
    mantissa, _, exponent = f"{abs(value)!r}".partition("e")
    whole, _, fraction = mantissa.partition(".")
    digits = (whole + fraction).lstrip("0")
    point = len(whole) + int(exponent or 0) if whole != "0" else int(exponent or 0) - _leading_zeros(fraction)
    digits = digits.rstrip("0")
    return sign + _placed(digits, point)


def _leading_zeros(fraction: str) -> int:
    return len(fraction) - len(fraction.lstrip("0"))


def _placed(digits: str, point: int) -> str:
    """Write ``0.digits`` x 10 ** ``point``."""
    if len(digits) <= point <= _LARGEST_PLAIN_EXPONENT:
        return digits + "0" * (point - len(digits))
    if 0 < point <= _LARGEST_PLAIN_EXPONENT:
        return f"{digits[:point]}.{digits[point:]}"
    if _SMALLEST_PLAIN_EXPONENT < point <= 0:
        return f"0.{'0' * -point}{digits}"
    rest = f".{digits[1:]}" if len(digits) > 1 else ""
    return f"{digits[0]}{rest}e{point - 1:+d}"
