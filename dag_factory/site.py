"""What the installation decides about every DAG; read once per process, because it is asked for once per SOP."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from airflow.executors.executor_loader import ExecutorLoader

from airflow_sop_provider.airflow_settings import SopSettings, read_settings

__all__ = ["Site", "site"]

_OUR_EXECUTOR = "airflow_sop_provider.executors.sop_executor.SopExecutor"


@dataclass(frozen=True)
class Site:
    """Settings, and the name under which our executor is configured.

    :param executor: alias or import path; None where it is not configured: the operator then does the work.
    """

    settings: SopSettings
    executor: str | None


@cache
def site() -> Site:
    """Return what the installation decides; `site.cache_clear()` after a change of the configuration."""
    return Site(settings=read_settings(), executor=_executor_name())


def _executor_name() -> str | None:
    # A task that names an executor which is not configured is an import error.
    for name in ExecutorLoader.get_executor_names(validate_teams=False):
        if name.module_path == _OUR_EXECUTOR:
            return name.alias or name.module_path
    return None
