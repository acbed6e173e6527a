"""What a plain YAML scalar means, and where readers of YAML disagree about it.

YAML 1.1 (PyYAML) and 1.2 (editors, ruamel.yaml, the JSON Schema check in an IDE) read some plain
words differently: ``no``, ``012``, ``1:30``, ``2024-01-01``, ``1e3``. A procedure that means one
thing to its author's editor and another to the engine is a trap, so these words are errors here
with the two ways to write them. Everything else means the same under both versions.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

__all__ = ["Ambiguous", "plain_scalar", "tagged_scalar"]

Scalar = str | int | float | bool | None

_CONSTANTS: dict[str, Scalar] = {
    "": None, "~": None, "null": None, "Null": None, "NULL": None,
    "true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False,
}  # fmt: skip
_OLD_BOOLEANS = frozenset(["yes", "Yes", "YES", "no", "No", "NO", "on", "On", "ON", "off", "Off", "OFF"])
_NUMBER_START = frozenset("-+.0123456789")
_INT = re.compile(r"[-+]?(0|[1-9][0-9]*)\Z")
_HEX = re.compile(r"[-+]?0x[0-9a-fA-F]+\Z")
_FLOAT = re.compile(r"[-+]?[0-9]+\.[0-9]*([eE][-+][0-9]+)?\Z")
_ELSEWHERE_NUMBER = re.compile(
    r"[-+]?(0[0-9_]+|[0-9][0-9_]*_[0-9_]*|0b[01_]+|0o[0-7]+|0x[0-9a-fA-F_]+"  # octal, underscores, bases
    r"|[0-9][0-9_]*(:[0-5]?[0-9])+(\.[0-9_]*)?"  # base 60
    r"|([0-9][0-9_]*\.?[0-9_]*|\.[0-9][0-9_]*)([eE][-+]?[0-9]+)?|\.(inf|Inf|INF))\Z|\.(nan|NaN|NAN)\Z"
)
_DATE = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}\Z|[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}([Tt]|[ \t]+)[0-9]{1,2}:[0-9]{2}:[0-9]{2}"
    r"(\.[0-9]*)?([ \t]*(Z|[-+][0-9]{1,2}(:[0-9]{2})?))?\Z"
)
_DIGITS = 18  # every number of so many digits fits into 64 bits
_TAG = "tag:yaml.org,2002:"


@dataclass(frozen=True, slots=True)
class Ambiguous:
    """A scalar that has no one meaning.

    :param why: end of a sentence that starts with the scalar.
    :param instead: what to write.
    """

    why: str
    instead: str


def plain_scalar(text: str) -> Scalar | Ambiguous:
    """Return what an unquoted scalar means in YAML 1.1 and 1.2 alike."""
    if text in _CONSTANTS:
        return _CONSTANTS[text]
    if text in _OLD_BOOLEANS:
        word = "true" if text.lower() in ("yes", "on") else "false"
        return Ambiguous("is a boolean to some readers of YAML and text to others", f'write {word}, or "{text}"')
    if text[0] not in _NUMBER_START:
        return text
    if _INT.match(text):
        return int(text) if len(text) <= _DIGITS else _quote(text, "is too large a number")
    if _FLOAT.match(text):
        return _float(text)
    if _HEX.match(text) and len(text) <= _DIGITS:
        return int(text, 16)
    if _ELSEWHERE_NUMBER.match(text):
        return _quote(text, "is one number to some readers of YAML and another, or text, to others")
    if _DATE.match(text):
        return Ambiguous("is a date to some readers of YAML and text to others", f'write "{text}"')
    return text


def tagged_scalar(tag: str, text: str) -> Scalar | Ambiguous:
    """Return the value of a scalar with an explicit tag, for example ``!!str 2.1``."""
    if tag in ("!", _TAG + "str"):
        return text
    expected = {"null": type(None), "bool": bool, "int": int, "float": float}.get(tag.removeprefix(_TAG))
    value = plain_scalar(text)
    if expected is None:
        return Ambiguous(f"has the tag `{tag}`, which an SOP may not use", "leave the tag out")
    if isinstance(value, Ambiguous) or (expected is float and type(value) is int):
        return value
    if type(value) is not expected:
        return Ambiguous(f"is not what its tag `{tag}` says", "leave the tag out")
    return value


def _float(text: str) -> float | Ambiguous:
    value = float(text) if len(text) <= _DIGITS * 2 else float("inf")
    return value if abs(value) != float("inf") else _quote(text, "is too large a number")


def _quote(text: str, why: str) -> Ambiguous:
    return Ambiguous(why, f'write "{text}" for text, or a plain decimal number')
