"""On what a run was made: figures without that mean nothing."""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, version

__all__ = ["describe", "load_per_core"]


def describe(machine: str | None = None) -> dict[str, str]:
    """Return the machine in a few words, and the versions that matter.

    :param machine: what to say of the machine; None: how many cores it has.
    """
    return {
        "machine": machine or f"{os.cpu_count()} cores",
        "load at the start": f"{os.getloadavg()[0]:.1f}",
        "Python": platform.python_version(),
        "Airflow": _version("apache-airflow"),
        "cncf-kubernetes": _version("apache-airflow-providers-cncf-kubernetes"),
        "airflow-sop-provider": _version("airflow-sop-provider"),
    }


def load_per_core() -> float:
    """Return how many programs wanted each core during the last minute."""
    return os.getloadavg()[0] / (os.cpu_count() or 1)


def _version(distribution: str) -> str:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return "not installed"
