"""The two pools of Airflow that steps run in, and how much of a pool a step takes.

What somebody waits for and what may take the night share a cluster, not a queue: a batch of a
thousand executions never stands before the one that a person has just triggered.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

__all__ = ["BATCH_KEY", "BATCH_POOL", "REALTIME_POOL", "SLOT_MILLIS", "pool_of", "slots_of"]

BATCH_KEY = "batch"
"""Reserved key of a run's conf that names the batch it belongs to."""

REALTIME_POOL = "sop_realtime"
"""Executions that somebody triggered for now."""
BATCH_POOL = "sop_batch"
"""Executions of a schedule, a backfill or a batch."""

SLOT_MILLIS = 250
"""Thousandths of a core that one slot of a pool stands for."""

_BATCH_RUN_TYPES = frozenset({"scheduled", "backfill"})


def pool_of(run_type: str, conf: Mapping[str, Any] | None) -> str:
    """Return the pool of an execution's steps.

    :param run_type: Airflow's type of the DAG run, such as ``manual`` or ``backfill``.
    :param conf: of the DAG run; one that names a batch belongs to the batch pool.
    """
    return BATCH_POOL if run_type in _BATCH_RUN_TYPES or (conf or {}).get(BATCH_KEY) else REALTIME_POOL


def slots_of(cpu_millis: int | None) -> int:
    """Return the slots a step takes: one for each begun quarter of a core of its CPU limit, one if it has none."""
    return max(1, math.ceil((cpu_millis or 0) / SLOT_MILLIS))
