"""Hands the engine's app to the API server, and to nobody else.

Every component of Airflow loads plugins, but only the API server asks for apps. Importing FastAPI and the engine takes
longer than a parser or a worker lives, so the app is made when it is asked for.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

__all__ = ["MOUNT", "EngineApps"]

MOUNT = "/sop"


class EngineApps(list[dict[str, Any]]):
    """The plugin's one app, made at the first look into the list."""

    def __iter__(self) -> Iterator[dict[str, Any]]:
        if not super().__len__():
            from airflow_sop_provider.api.app import create_app

            self.append({"name": "SOP execution engine", "app": create_app(), "url_prefix": MOUNT})
        return super().__iter__()
