"""What Airflow cannot find through provider metadata and takes from a plugin."""

from __future__ import annotations

from airflow.configuration import conf
from airflow.plugins_manager import AirflowPlugin

from airflow_sop_provider.listeners import pools
from airflow_sop_provider.plugins.engine_app import EngineApps, attempts_tab
from airflow_sop_provider.plugins.sqlite_turns import root_middlewares
from airflow_sop_provider.timetables.sop_schedule import SopSchedule

__all__ = ["SopPlugin"]


class SopPlugin(AirflowPlugin):
    """Registers what Airflow asks a plugin for.

    The timetable of SOP schedules, without which no scheduled SOP could be serialized; listeners; the engine's app,
    and the one of its pages that is a tab of Airflow's;
    and, where the metadata database is SQLite, the order in which the API server writes to it.
    """

    name = "sop"
    timetables = [SopSchedule]  # noqa: RUF012  Airflow's plugin manager reads a plain class attribute
    listeners = [pools]  # noqa: RUF012  likewise
    fastapi_apps = EngineApps()
    external_views = [attempts_tab()]  # noqa: RUF012  likewise
    fastapi_root_middlewares = root_middlewares(conf.get("database", "sql_alchemy_conn"))
