"""The circuit breaker of a server: when too many of its last requests failed it is left alone for a while.

Over 50 % failures among the last 100 requests opens it, once there are 10 of them, or a single failure would be
100 %; 30 s later one probe decides. Each retry counts as a request. Pure functions of a state and a time, so that
several gateways that share the state come to the same decision.

No library does this: pybreaker, aiobreaker, purgatory and circuitbreaker count failures in a row; lasier knows a
percentage, but of counters that start anew after a time, not of the last 100 requests; its last release is of 2022.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

__all__ = ["MINIMUM", "OPEN_SECONDS", "WINDOW", "BreakerState", "admits", "claimed", "recorded"]

WINDOW = 100
"""Requests that are looked at."""

MINIMUM = 10
"""Requests below which nothing is concluded."""

OPEN_SECONDS = 30.0
"""Seconds from opening to a probe, and from a probe that never reported to the next one."""


@dataclass(frozen=True)
class BreakerState:
    """What is known of a server.

    :param window: outcomes of the last requests, oldest first: ``1`` failed, ``0`` did not.
    :param opened_at: seconds since the epoch when it opened, or when the last probe was let through; None: closed.
    :param probe_by: who probes.
    """

    window: str = ""
    opened_at: float | None = None
    probe_by: str | None = None

    @property
    def name(self) -> Literal["closed", "open", "probing"]:
        """Its state in a word."""
        if self.opened_at is None:
            return "closed"
        return "open" if self.probe_by is None else "probing"

    @property
    def failure_ratio(self) -> float:
        """Share of failures in the window; 0 for an empty one."""
        return self.window.count("1") / len(self.window) if self.window else 0.0


def admits(state: BreakerState, now: float) -> Literal["yes", "no", "probe"]:
    """Return whether a request may pass; ``probe``: one may, by whoever claims it first."""
    if state.opened_at is None:
        return "yes"
    return "probe" if now - state.opened_at >= OPEN_SECONDS else "no"


def claimed(state: BreakerState, now: float, who: str) -> BreakerState:
    """Return the state after ``who`` asked for the probe; unchanged if somebody else was faster."""
    return replace(state, opened_at=now, probe_by=who) if admits(state, now) == "probe" else state


def recorded(state: BreakerState, outcomes: str, now: float, who: str | None = None) -> BreakerState:
    """Return the state after requests ended.

    :param outcomes: one character for each, as in the window.
    :param who: the probe's name, None for ordinary requests, which say nothing while the breaker is open: they began
        before.
    """
    if state.opened_at is not None:
        if who is None or state.probe_by != who:
            return state
        return BreakerState(window="1" * MINIMUM, opened_at=now) if outcomes.endswith("1") else BreakerState()
    window = (state.window + outcomes)[-WINDOW:]
    after = BreakerState(window=window)
    opens = len(window) >= MINIMUM and after.failure_ratio > 0.5
    return replace(after, opened_at=now) if opens else after
