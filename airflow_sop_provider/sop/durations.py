"""Durations as people write them: ``90s``, ``10m``, ``1h30m``, ``2d``."""

from __future__ import annotations

import re
from datetime import timedelta

__all__ = ["DURATION_PATTERN", "MAX_DURATION", "format_duration", "parse_duration"]

DURATION_PATTERN = r"^(?=[0-9])([0-9]+d)?([0-9]+h)?([0-9]+m)?([0-9]+s)?$"
"""Regular expression of a duration; days, hours, minutes and seconds, each at most once, in this order."""

MAX_DURATION = timedelta(days=3660)
"""Longest duration accepted: ten years."""

_DURATION = re.compile(DURATION_PATTERN.replace("$", r"\Z"))
_DIGITS = 12
_UNITS = (("d", 86400), ("h", 3600), ("m", 60), ("s", 1))


def parse_duration(text: str) -> timedelta:
    """Return the duration written as `text`, for example ``1h30m``.

    :raises ValueError: not a duration, zero, or above `MAX_DURATION`.
    """
    match = _DURATION.match(text)
    if not match:
        raise ValueError(f"`{text[:40]}` is not a duration: write for example 90s, 10m, 1h30m or 2d")
    parts = [part for part in match.groups() if part]
    if any(len(part) > _DIGITS for part in parts):
        raise ValueError(f"the duration is above the limit of {format_duration(MAX_DURATION)}: write a shorter one")
    seconds = sum(int(part[:-1]) * dict(_UNITS)[part[-1]] for part in parts)
    if seconds == 0:
        raise ValueError("a duration of zero is not allowed: leave the key out for no limit")
    if seconds > MAX_DURATION.total_seconds():
        raise ValueError(f"the duration is above the limit of {format_duration(MAX_DURATION)}")
    return timedelta(seconds=seconds)


def format_duration(duration: timedelta) -> str:
    """Return the shortest text that `parse_duration` reads as `duration`; parts of a second are dropped."""
    rest = int(duration.total_seconds())
    text = ""
    for unit, seconds in _UNITS:
        count, rest = divmod(rest, seconds)
        if count:
            text += f"{count}{unit}"
    return text or "0s"
