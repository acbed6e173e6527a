"""Runs start inside their window, or not at all; missed ones only if asked for; backfills see all of them."""

from __future__ import annotations

from datetime import timedelta

import pendulum
import pytest
from airflow.timetables.base import DataInterval, TimeRestriction

from airflow_sop_provider.timetables import sop_schedule
from airflow_sop_provider.timetables.sop_schedule import SopSchedule
from tests.dag_factory.documents import HEAD, dag_of, serialized

NO_CATCHUP = TimeRestriction(earliest=None, latest=None, catchup=False)


@pytest.fixture
def at(monkeypatch):
    def set_now(text):
        monkeypatch.setattr(sop_schedule, "utcnow", lambda: pendulum.parse(text))

    return set_now


def utc(text):
    return pendulum.parse(text)


def following(schedule, last, restriction=NO_CATCHUP):
    interval = None if last is None else DataInterval.exact(utc(last))
    info = schedule.next_dagrun_info(last_automated_data_interval=interval, restriction=restriction)
    return None if info is None else info.run_after


def daily(**options):
    return SopSchedule("0 1 * * *", timezone="UTC", **options)


def test_a_new_sop_waits_for_the_next_time(at):
    at("2026-03-10T01:30:00Z")
    assert following(daily(), None) == utc("2026-03-11T01:00:00Z")
    assert following(daily(window=timedelta(hours=4)), None) == utc("2026-03-11T01:00:00Z")


def test_the_next_run_follows_the_last(at):
    at("2026-03-10T01:00:05Z")
    assert following(daily(), "2026-03-10T01:00:00Z") == utc("2026-03-11T01:00:00Z")


@pytest.mark.parametrize(("now", "start"), [("04:59", "2026-03-10T01:00:00Z"), ("05:01", "2026-03-11T01:00:00Z")])
def test_a_late_run_starts_in_its_window_only(at, now, start):
    at(f"2026-03-10T{now}:00Z")
    assert following(daily(window=timedelta(hours=4)), "2026-03-09T01:00:00Z") == utc(start)


def test_without_a_window_the_last_missed_run_starts_until_the_next_is_due(at):
    at("2026-03-10T23:59:00Z")
    assert following(daily(), "2026-03-05T01:00:00Z") == utc("2026-03-10T01:00:00Z")


def test_missed_runs_are_made_up_for_when_asked(at):
    at("2026-03-10T23:59:00Z")
    schedule = daily(catchup=True, window=timedelta(hours=1))
    assert following(schedule, "2026-03-05T01:00:00Z") == utc("2026-03-06T01:00:00Z")


def test_the_time_zone_is_the_schedules_also_over_a_change_of_time(at):
    at("2026-03-27T12:00:00Z")
    schedule = SopSchedule("0 1 * * *", timezone="Europe/Berlin")
    assert following(schedule, None) == utc("2026-03-28T00:00:00Z")
    at("2026-03-29T12:00:00Z")
    assert following(schedule, "2026-03-29T00:00:00Z") == utc("2026-03-29T23:00:00Z")


def test_a_run_belongs_to_the_minute_of_its_cron(at):
    at("2026-03-10T00:00:00Z")
    info = daily().next_dagrun_info(last_automated_data_interval=None, restriction=NO_CATCHUP)
    assert info.data_interval == DataInterval.exact(utc("2026-03-10T01:00:00Z"))


def test_an_end_is_respected(at):
    at("2026-03-10T00:00:00Z")
    assert following(daily(), None, TimeRestriction(None, utc("2026-03-10T00:30:00Z"), False)) is None
    later = TimeRestriction(utc("2026-04-01T00:00:00Z"), None, False)
    assert following(daily(), None, later) == utc("2026-04-01T01:00:00Z")


SCHEDULED = (
    HEAD
    + """
schedule: {cron: "0 1 * * 1-5", timezone: Europe/Berlin, window: 4h, catchup: true}
steps: [{id: a, compute: {v: "1"}}]
"""
)


def test_a_backfill_gets_every_run_and_the_schedule_survives_serialization():
    dag = serialized(dag_of(SCHEDULED))
    infos = dag.iter_dagrun_infos_between(utc("2026-03-02T00:00:00Z"), utc("2026-03-08T23:00:00Z"))
    assert [info.run_after for info in infos] == [utc(f"2026-03-0{day}T00:00:00Z") for day in (2, 3, 4, 5, 6)]
    assert dag.timetable.periodic  # what Airflow asks before it lets a backfill in
    assert dag.timetable.summary == "0 1 * * 1-5"
    assert not dag.catchup
    assert dag.timetable.serialize() == {
        "cron": "0 1 * * 1-5",
        "timezone": "Europe/Berlin",
        "window": 14400.0,
        "catchup": True,
    }
