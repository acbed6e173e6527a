"""Events that the engine has not acknowledged yet: what the shipper sends and the verdict carries.

Written by the step's threads and by the handler of SIGTERM, which may interrupt any of them, so there is no lock: each
operation is one that CPython does in one piece. Events may therefore come in slightly out of order; they are handed
out in order, and never past a number that is still missing, because the engine takes a number below the last it saw
for one it has.
"""

from __future__ import annotations

import json
from collections import deque
from dataclasses import dataclass
from typing import Any

from airflow_sop_provider.audit.event_lines import without_identity

__all__ = ["PENDING_LIMIT", "PendingEvent", "PendingEvents"]

PENDING_LIMIT = 4 * 1024 * 1024
"""Bytes that are kept at most: an agent that works for hours while the engine is away must not run out of memory."""


@dataclass(frozen=True)
class PendingEvent:
    """An event as it was written: its number and its JSON."""

    seq: int
    text: bytes


class PendingEvents:
    """Keeps events until they are acknowledged."""

    def __init__(self, limit: int = PENDING_LIMIT) -> None:
        self._limit = limit
        self._events: deque[PendingEvent] = deque()
        self._bytes = 0  # an estimate when threads meet; the limit needs no more
        self._acknowledged = 0
        self.heartbeat: bytes | None = None
        """The latest sign of life that was not sent."""

    def has_room(self, size: int) -> bool:
        """Tell whether an event of so many bytes is to be kept."""
        return self._bytes + size <= self._limit

    def add(self, event: PendingEvent) -> None:
        """Keep an event."""
        self._events.append(event)
        self._bytes += len(event.text)

    def batch(self, max_events: int, max_bytes: int) -> list[PendingEvent]:
        """Return the next events to send, in order and without a gap; at least one if there is one."""
        chosen: list[PendingEvent] = []
        size, expected = 0, self._acknowledged + 1
        for event in self._sorted():
            if event.seq != expected or len(chosen) == max_events or (chosen and size + len(event.text) > max_bytes):
                break
            chosen.append(event)
            size, expected = size + len(event.text), expected + 1
        return chosen

    def acknowledge(self, batch: list[PendingEvent]) -> None:
        """Forget events that the engine has."""
        for event in batch:
            self._events.remove(event)
            self._bytes -= len(event.text)
            self._acknowledged = max(self._acknowledged, event.seq)

    def rest(self) -> tuple[dict[str, Any], ...]:
        """Return what is not acknowledged, for the verdict: in order, without the attempt's identity."""
        return tuple(without_identity(json.loads(event.text)) for event in self._sorted())

    def _sorted(self) -> list[PendingEvent]:
        return sorted(self._events.copy(), key=lambda event: event.seq)
