"""Quantities of resources in the notation of Kubernetes: ``250m`` of a CPU, ``256Mi`` of memory.

Models keep the text, so that a pod gets exactly what the SOP says; these functions give the
number to whoever has to compare, add up or limit. The grammar is that of
``k8s.io/apimachinery/pkg/api/resource``.
"""

from __future__ import annotations

import re
from decimal import ROUND_CEILING, Decimal

__all__ = ["QUANTITY_PATTERN", "bytes_of", "millis_of", "parse_quantity"]

QUANTITY_PATTERN = r"^([0-9]+(\.[0-9]*)?|\.[0-9]+)([num]|k|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei|[eE][+-]?[0-9]{1,2})?$"
"""Regular expression of a quantity."""

_QUANTITY = re.compile(QUANTITY_PATTERN.replace("$", r"\Z"))
_LENGTH = 32
_LARGEST = Decimal(2**63 - 1)
_DECIMAL = {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_BINARY = {"Ki": 10, "Mi": 20, "Gi": 30, "Ti": 40, "Pi": 50, "Ei": 60}


def parse_quantity(text: str) -> Decimal:
    """Return the number `text` stands for.

    :raises ValueError: not a quantity, or above 2**63 - 1, the largest Kubernetes holds.
    """
    match = _QUANTITY.match(text) if len(text) <= _LENGTH else None
    if not match:
        raise ValueError(f"`{text[:40]}` is not a quantity: write for example 250m for a CPU, 256Mi for memory")
    number, suffix = Decimal(match[1]), match[3] or ""
    if suffix in _BINARY:
        value = number * Decimal(1 << _BINARY[suffix])
    elif suffix in _DECIMAL:
        value = number.scaleb(_DECIMAL[suffix])
    else:
        value = number.scaleb(int(suffix[1:]))
    if value > _LARGEST:
        raise ValueError(f"`{text}` is above the largest quantity, 2^63 - 1")
    return value


def millis_of(text: str) -> int:
    """Return thousandths, rounded up: ``250m`` is 250, ``1`` is 1000. Raises as `parse_quantity`."""
    return int((parse_quantity(text) * 1000).to_integral_value(ROUND_CEILING))


def bytes_of(text: str) -> int:
    """Return whole units, rounded up: ``256Mi`` is 268435456. Raises as `parse_quantity`."""
    return int(parse_quantity(text).to_integral_value(ROUND_CEILING))
