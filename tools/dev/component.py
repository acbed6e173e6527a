"""Runs an `airflow` command with a calmer garbage collector.

Starting a component makes some hundred thousand objects that stay; with Python's default threshold
the collector walks them again and again, which is a third of the API server's start.
"""

from __future__ import annotations

import gc
import runpy

__all__: list[str] = []

_THRESHOLDS = (50_000, 20, 50)

if __name__ == "__main__":
    gc.set_threshold(*_THRESHOLDS)
    # as `python -m airflow` does it; the function is not annotated
    runpy.run_module("airflow", run_name="__main__")
