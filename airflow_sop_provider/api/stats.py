"""What the engine sends to statsd, through the client that Airflow's ``[metrics]`` configures.

Names hold their labels (``sop.execution.ended.system_design.COMPLETED``): Airflow's plain statsd client drops tags, and
the mapping of the chart (`helm/files/statsd-mapping.yaml`) makes labels of them again. One of all API servers sends,
from the engine's tables: so executions count however they were started, and whatever was down when they ended.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import timedelta
from typing import Literal

from airflow.configuration import conf
from airflow.observability.stats import Stats, normalize_name_for_stats
from sqlalchemy.orm import Session

from airflow_sop_provider.store.base import utc_now
from airflow_sop_provider.store.happenings import Happenings, Levels, advance, happenings, levels_now

__all__ = ["BREAKER_VALUES", "STATS", "Stat", "configured", "send_stats"]

_POSITION = "statsd"
_SETTLE = timedelta(seconds=5)
"""What ended less than so long ago may not be committed yet."""
_DESTINATIONS = ("statsd_on", "statsd_datadog_enabled", "otel_on")

BREAKER_VALUES = {"closed": 0, "probing": 1, "open": 2}
"""What a server's breaker is as a number."""

Sessions = Callable[[], AbstractContextManager[Session]]


@dataclass(frozen=True)
class Stat:
    """A metric; its labels follow its name, separated by dots."""

    name: str
    kind: Literal["counter", "timer", "gauge"]
    labels: tuple[str, ...] = ()

    def of(self, *values: str | None) -> str:
        """Return the name with these values of its labels; None is ``none``."""
        assert len(values) == len(self.labels)
        parts = (normalize_name_for_stats(value or "none", log_warning=False).replace(".", "_") for value in values)
        return ".".join((self.name, *parts))


STARTED = Stat("sop.execution.started", "counter", ("mode",))
ENDED = Stat("sop.execution.ended", "counter", ("mode", "status"))
DURATION = Stat("sop.execution.duration", "timer", ("mode", "control"))
ATTEMPT_ENDED = Stat("sop.attempt.ended", "counter", ("kind", "state"))
ATTEMPT_DURATION = Stat("sop.attempt.duration", "timer", ("kind",))
ATTEMPT_ERROR = Stat("sop.attempt.error", "counter", ("type",))
CPU = Stat("sop.attempt.cpu_milliseconds", "counter")
RECEIVED = Stat("sop.attempt.network_received_bytes", "counter")
SENT = Stat("sop.attempt.network_sent_bytes", "counter")
ALERT = Stat("sop.alert.raised", "counter")
QUEUE = Stat("sop.queue.depth", "gauge")
OPEN = Stat("sop.execution.open", "gauge", ("status",))
RUNNING_ATTEMPTS = Stat("sop.attempt.running", "gauge")
UNACKNOWLEDGED = Stat("sop.alert.unacknowledged", "gauge")
ESCALATIONS = Stat("sop.escalation.waiting", "gauge", ("state",))
BREAKER = Stat("sop.breaker.state", "gauge", ("server",))
BREAKER_FAILURES = Stat("sop.breaker.failure_ratio", "gauge", ("server",))

STATS = (
    STARTED, ENDED, DURATION, ATTEMPT_ENDED, ATTEMPT_DURATION, ATTEMPT_ERROR, CPU, RECEIVED, SENT, ALERT, QUEUE, OPEN,
    RUNNING_ATTEMPTS, UNACKNOWLEDGED, ESCALATIONS, BREAKER, BREAKER_FAILURES,
)  # fmt: skip
"""All that is sent."""


def configured() -> bool:
    """Whether Airflow sends metrics anywhere."""
    return any(conf.getboolean("metrics", option, fallback=False) for option in _DESTINATIONS)


def send_stats(sessions: Sessions) -> None:
    """Send what happened since the last time, and the levels of now. The job of the background.

    :param sessions: makes sessions that are committed at their end.
    """
    if not configured():
        return
    with sessions() as session:
        since, until = advance(session, _POSITION, utc_now() - _SETTLE)
    with sessions() as session:
        happened, levels = happenings(session, since, until), levels_now(session)
    _count(happened)
    _level(levels)


def _count(happened: Happenings) -> None:
    for mode, number in happened.started.items():
        Stats.incr(STARTED.of(mode), number)
    for execution in happened.executions:
        Stats.incr(ENDED.of(execution.mode, execution.status))
        if execution.seconds is not None:
            Stats.timing(DURATION.of(execution.mode, execution.control), timedelta(seconds=execution.seconds))
    for attempt in happened.attempts:
        Stats.incr(ATTEMPT_ENDED.of(attempt.kind, attempt.state))
        Stats.timing(ATTEMPT_DURATION.of(attempt.kind), timedelta(seconds=attempt.seconds))
        if attempt.error_type is not None:
            Stats.incr(ATTEMPT_ERROR.of(attempt.error_type))
    totals = {
        CPU: round(1000 * sum(one.cpu_seconds for one in happened.attempts)),
        RECEIVED: sum(one.received_bytes for one in happened.attempts),
        SENT: sum(one.sent_bytes for one in happened.attempts),
        ALERT: happened.alerts,
    }
    for stat, total in totals.items():
        if total:
            Stats.incr(stat.of(), total)


def _level(levels: Levels) -> None:
    Stats.gauge(QUEUE.of(), levels.queue_depth)
    Stats.gauge(RUNNING_ATTEMPTS.of(), levels.running_attempts)
    Stats.gauge(UNACKNOWLEDGED.of(), levels.alerts)
    for status, number in levels.executions.items():
        Stats.gauge(OPEN.of(status), number)
    for state, number in levels.deliveries.items():
        Stats.gauge(ESCALATIONS.of(state), number)
    for server, (state, ratio) in levels.breakers.items():
        Stats.gauge(BREAKER.of(server), BREAKER_VALUES[state])
        Stats.gauge(BREAKER_FAILURES.of(server), ratio)
