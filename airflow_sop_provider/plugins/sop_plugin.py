"""What Airflow cannot find through provider metadata and takes from a plugin."""

from __future__ import annotations

from airflow.plugins_manager import AirflowPlugin

from airflow_sop_provider.listeners import pools
from airflow_sop_provider.timetables.sop_schedule import SopSchedule

__all__ = ["SopPlugin"]


class SopPlugin(AirflowPlugin):
    """Registers the timetable of SOP schedules, without which no scheduled SOP could be serialized, and listeners."""

    name = "sop"
    timetables = [SopSchedule]  # noqa: RUF012  Airflow's plugin manager reads a plain class attribute
    listeners = [pools]  # noqa: RUF012  likewise
