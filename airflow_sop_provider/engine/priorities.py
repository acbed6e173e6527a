"""What a priority weighs.

Weights are far apart so that no sum of lesser things outweighs a priority; they are absolute, the
place of a step in its graph adds nothing: among queued steps the higher priority starts first.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["PRIORITY_KEY", "PRIORITY_WEIGHTS", "known_priority", "weight_of_conf"]

PRIORITY_WEIGHTS: dict[str, int] = {"critical": 1000, "high": 100, "normal": 10, "low": 1}
"""Priority of an SOP or of one execution -> Airflow's ``priority_weight``."""

PRIORITY_KEY = "priority"
"""Reserved key of a run's conf that overrides the SOP's priority for this execution."""


def known_priority(value: object) -> str | None:
    """Return a priority that exists, None for anything else."""
    return value if isinstance(value, str) and value in PRIORITY_WEIGHTS else None


def weight_of_conf(conf: Mapping[str, Any] | None) -> int | None:
    """Return the weight that a run's conf asks for, None if it asks for none or for one that does not exist."""
    priority = known_priority((conf or {}).get(PRIORITY_KEY))
    return None if priority is None else PRIORITY_WEIGHTS[priority]
