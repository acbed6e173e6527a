"""Positions in an output that has times but no offsets: the time of a line and its number among those of that time.

Kubernetes and Docker can put before each line the time at which it was read, in nanoseconds, and can start again at a
time in whole seconds. After a break the last second is read again and what was given is left out.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime

__all__ = ["Positions", "nanoseconds_of", "seconds_of"]

_ORDINALS = 1 << 20
"""Lines that may have the same time, which with Podman 4 is a whole second; those above it could not be told apart."""
_NANOSECONDS = 1_000_000_000
_TIME = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(Z|[+-]\d\d:\d\d)")


class Positions:
    """Gives each line of one reading its position; lines come in the order of their times."""

    def __init__(self) -> None:
        self._last = 0
        self._ordinal = 0

    def after(self, nanoseconds: int) -> int:
        """Return the position after the next line, which has this time."""
        self._ordinal = self._ordinal + 1 if nanoseconds == self._last else 0
        self._last = nanoseconds
        return nanoseconds * _ORDINALS + min(self._ordinal, _ORDINALS - 1)


def seconds_of(position: int) -> int:
    """Return the second (since 1970) from which lines after ``position`` can be read."""
    return position // _ORDINALS // _NANOSECONDS


def nanoseconds_of(stamp: str) -> int | None:
    """Return nanoseconds since 1970 of an RFC 3339 time with up to nine decimals, None if it is none."""
    found = _TIME.fullmatch(stamp)
    if found is None:
        return None
    whole, decimals, zone = found.groups(default="")
    seconds = int(datetime.fromisoformat(whole + zone).astimezone(UTC).timestamp())
    return seconds * _NANOSECONDS + int(decimals.ljust(9, "0"))
