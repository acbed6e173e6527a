"""Hands the engine's app to the API server, and to nobody else.

Every component of Airflow loads plugins, but only the API server asks for apps. Importing FastAPI and the engine takes
longer than a parser or a worker lives, so the app is made when it is asked for.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

from airflow.configuration import conf

__all__ = ["MOUNT", "EngineApps", "attempts_tab"]

MOUNT = "/sop"
_ATTEMPTS = "/api/v1/sops/{DAG_ID}/executions/{RUN_ID}/steps/{TASK_ID}/attempts.html?map_index={MAP_INDEX}"
"""Airflow's UI puts those of the task instance in the place of these names; `api.routes.attempts_page` answers."""


class EngineApps(list[dict[str, Any]]):
    """The plugin's one app, made at the first look into the list; with it the API server's savepoints are mended."""

    def __iter__(self) -> Iterator[dict[str, Any]]:
        if not super().__len__():
            from airflow_sop_provider.api.app import create_app
            from airflow_sop_provider.plugins.sqlite_savepoints import begin_before_savepoints

            begin_before_savepoints()
            self.append({"name": "SOP execution engine", "app": create_app(), "url_prefix": MOUNT})
        return super().__iter__()


def attempts_tab() -> dict[str, str]:
    """Return the tab `Attempts` of task instances, for Airflow's ``external_views``."""
    below = urlsplit(conf.get("api", "base_url", fallback="")).path.rstrip("/")
    return {
        "name": "Attempts",
        "href": f"{below}{MOUNT}{_ATTEMPTS}",
        "destination": "task_instance",
        "url_route": "sop-attempts",
    }
