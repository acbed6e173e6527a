"""A runner's events: the names they share, and how a file of them is read after its writer was killed.

Every event that belongs into the audit log has a ``seq``, counted from 1 without a gap for each attempt, so whoever
receives some of them twice, on several ways, tells by it what is new. Heartbeats have 0: signs of life, not facts.
"""

from __future__ import annotations

import json
from typing import Any

__all__ = ["HEARTBEAT", "IDENTITY", "NO_SEQ", "read_events", "without_identity"]

HEARTBEAT = "heartbeat"
NO_SEQ = 0
"""``seq`` of events that are signs of life and no facts."""

IDENTITY = frozenset({"execution", "step", "map_index", "attempt"})
"""What names the attempt in each event; left out where the attempt is known anyway (a verdict's events)."""


def without_identity(event: dict[str, Any]) -> dict[str, Any]:
    """Return an event without what names its attempt."""
    return {name: value for name, value in event.items() if name not in IDENTITY}


def read_events(data: bytes) -> list[dict[str, Any]]:
    """Return the events of a file's content, in order of ``seq``, each once, without heartbeats.

    Its writer may have been killed in the middle of a line, or a full disk cut one: what is no event is passed over.
    """
    found: dict[int, dict[str, Any]] = {}
    for line in data.split(b"\n"):
        try:
            event = json.loads(line)
        except ValueError:
            continue
        seq = event.get("seq") if isinstance(event, dict) else None
        if isinstance(seq, int) and seq > NO_SEQ:
            found.setdefault(seq, event)
    return [found[seq] for seq in sorted(found)]
