"""Fixtures for tests that need Airflow in their own process: its database, and a configuration that can be changed."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

import pytest


@pytest.fixture(scope="session")
def airflow_database() -> None:
    """An up-to-date SQLite database in the tests' AIRFLOW_HOME."""
    from airflow.utils.db import initdb

    initdb()


@pytest.fixture
def configure(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Set options of airflow.cfg: ``configure(core__executor="LocalExecutor")``."""
    from dag_factory.site import site

    def apply(**options: str) -> None:
        for name, value in options.items():
            monkeypatch.setitem(os.environ, f"AIRFLOW__{name.upper()}", value)
        _forget_executors()
        site.cache_clear()

    yield apply
    monkeypatch.undo()
    _forget_executors()
    site.cache_clear()


_EXECUTOR_CACHES = (
    "_alias_to_executors_per_team",
    "_module_to_executors_per_team",
    "_classname_to_executors_per_team",
    "_team_name_to_executors",
    "_executor_names",
)


def _forget_executors() -> None:
    """Have Airflow read ``[core] executor`` again; it remembers it for the life of a process."""
    from airflow.executors import executor_loader

    for name in _EXECUTOR_CACHES:
        getattr(executor_loader, name).clear()
