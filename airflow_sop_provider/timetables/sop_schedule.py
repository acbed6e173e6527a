"""A cron schedule whose runs start inside their window, or not at all.

Airflow's cron timetable starts the last run that was missed however late it is, or every one of
them. An SOP says how late an execution may still start (``window``) and whether missed ones are
made up for (``catchup``), hence this small subclass. Everything else is Airflow's: backfills, the
schedule's description, the interval's meaning (a run belongs to the very minute of its cron).

Missed executions are those since the last scheduled one; a new SOP does not start with the past,
so it needs no start date. The DAG's own ``catchup`` therefore stays off.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow._shared.timezones.timezone import coerce_datetime, parse_timezone, utcnow
from airflow.timetables.base import DagRunInfo, DataInterval, TimeRestriction, Timetable
from airflow.timetables.trigger import CronTriggerTimetable

if TYPE_CHECKING:
    from pendulum import DateTime

__all__ = ["SopSchedule"]


class SopSchedule(CronTriggerTimetable):
    """Runs at the times of a cron expression.

    :param cron: cron expression of five fields or a name such as ``@daily``.
    :param timezone: IANA name.
    :param window: how late a run may still start; None: until the next one is due.
    :param catchup: whether runs missed since the last scheduled one are made up for, however late.
    """

    def __init__(self, cron: str, *, timezone: str, window: timedelta | None = None, catchup: bool = False) -> None:
        super().__init__(cron, timezone=parse_timezone(timezone))
        self._timezone_name = timezone
        self._window = window
        self._make_up = catchup

    def next_dagrun_info(
        self, *, last_automated_data_interval: DataInterval | None, restriction: TimeRestriction
    ) -> DagRunInfo | None:
        """Return the next run to create, None if the restriction excludes it; see Airflow's ``Timetable``."""
        if restriction.catchup:  # a backfill, which asks for every run between two times
            return super().next_dagrun_info(
                last_automated_data_interval=last_automated_data_interval, restriction=restriction
            )
        start = self._align_to_next(coerce_datetime(utcnow()))
        if last_automated_data_interval is not None:
            following = self._get_next(last_automated_data_interval.end)
            start = following if self._make_up else max(following, self._last_in_window())
        if restriction.earliest is not None:
            start = max(start, self._align_to_next(restriction.earliest))
        if restriction.latest is not None and restriction.latest < start:
            return None
        return DagRunInfo.exact(start)

    def _last_in_window(self) -> DateTime:
        """Return the most recent time that may still start, else the next."""
        now = coerce_datetime(utcnow())
        last = self._align_to_prev(now)
        late = self._window is not None and last + self._window < now
        return self._align_to_next(now) if late else last

    def serialize(self) -> dict[str, Any]:
        """Return the schedule as JSON values."""
        return {
            "cron": self._expression,
            "timezone": self._timezone_name,
            "window": None if self._window is None else self._window.total_seconds(),
            "catchup": self._make_up,
        }

    @classmethod
    def deserialize(cls, data: dict[str, Any]) -> Timetable:
        """Return the schedule that `serialize` gave."""
        window = data["window"]
        return cls(
            data["cron"],
            timezone=data["timezone"],
            window=None if window is None else timedelta(seconds=window),
            catchup=data["catchup"],
        )
