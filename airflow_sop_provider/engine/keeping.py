"""How long the container of an attempt that failed stays, for a person to look at.

One rule for the executor that has just carried the attempt and for a sweep that meets the container after any number of
restarts: nothing is noted when a container is kept, the rule reads how and when it ended. What is unclear is not kept.
"""

from __future__ import annotations

import signal
from datetime import datetime

from airflow_sop_provider.engine.failures import classify
from airflow_sop_provider.runtimes.base import Outcome

__all__ = ["is_kept"]

_SIGNAL_BASE = 128
_SIGNALS_OF_A_STOP = frozenset({signal.SIGTERM, signal.SIGKILL})


def is_kept(seen: Outcome, seconds: float, now: datetime) -> bool:
    """Return whether what is left of an attempt is to stay for now.

    :param seen: how it ended; one that succeeded, was skipped or was stopped is not kept.
    :param seconds: how long the container of a failed attempt stays after its end; 0 for not at all.
    :param now: the present, with a time zone.
    """
    failure = classify(seen)
    if failure is None or seen.stopped or seen.ended_at is None:
        return False
    if failure.scarce is None and _ending_signal(seen) in _SIGNALS_OF_A_STOP:
        return False  # a stop by somebody who died before removing it looks like this
    # the end is the time of another machine's clock: one that is far ahead must not keep it for ever
    return abs((now - seen.ended_at).total_seconds()) < seconds


def _ending_signal(seen: Outcome) -> int | None:
    """Return the number of the signal that ended the program, or that its exit code names."""
    return seen.signal or (None if seen.exit_code is None else seen.exit_code - _SIGNAL_BASE)
