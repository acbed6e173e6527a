"""On what a run was made: figures without that mean nothing."""

from __future__ import annotations

import os
import platform
import time
from importlib.metadata import PackageNotFoundError, version

__all__ = ["describe", "load_per_core", "steadiness"]


def describe(machine: str | None = None) -> dict[str, str]:
    """Return the machine in a few words, and the versions that matter.

    :param machine: what to say of the machine; None: how many cores it has.
    """
    return {
        "machine": machine or f"{os.cpu_count()} cores",
        "load at the start": f"{os.getloadavg()[0]:.1f}",
        "speed kept": f"{steadiness():.0%}",
        "Python": platform.python_version(),
        "Airflow": _version("apache-airflow"),
        "cncf-kubernetes": _version("apache-airflow-providers-cncf-kubernetes"),
        "airflow-sop-provider": _version("airflow-sop-provider"),
    }


def load_per_core() -> float:
    """Return how many programs wanted each core during the last minute."""
    return os.getloadavg()[0] / (os.cpu_count() or 1)


def steadiness(seconds: float = 3.0) -> float:
    """Return which part of its own best speed one core keeps up: 1 on a machine of one's own.

    A virtual machine whose host limits it runs at full speed for moments and stands still between them; wall
    times, and CPU times that span such a moment, are that much longer than the work took.
    """
    pieces: list[float] = []
    began = time.perf_counter()
    while (elapsed := time.perf_counter() - began) < seconds:
        before = time.perf_counter()
        sum(range(100_000))
        pieces.append(time.perf_counter() - before)
    return len(pieces) * sorted(pieces)[len(pieces) // 10] / elapsed


def _version(distribution: str) -> str:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return "not installed"
