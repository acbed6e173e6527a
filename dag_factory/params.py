"""Inputs of an SOP as params of its DAG: the trigger form, and what Airflow checks a run's conf against."""

from __future__ import annotations

import copy
from typing import Any

from airflow.sdk import Param

from airflow_sop_provider.engine.priorities import PRIORITY_KEY, PRIORITY_WEIGHTS
from airflow_sop_provider.sop.models import Sop

__all__ = ["params_of"]


def params_of(sop: Sop) -> dict[str, Param]:
    """Return a param per input, required if it has no default, and the one for the reserved key ``priority``."""
    return {**{name: _param(schema) for name, schema in sop.inputs.items()}, PRIORITY_KEY: _priority(sop)}


def _param(schema: dict[str, Any]) -> Param:
    rest = copy.deepcopy(schema)
    description = rest.pop("description", None)
    if "default" in rest:
        return Param(rest.pop("default"), description, schema=rest)
    return Param(description=description, schema=rest)


def _priority(sop: Sop) -> Param:
    return Param(
        sop.priority,
        "Priority of this execution among those that wait.",
        schema={"type": "string", "enum": [*PRIORITY_WEIGHTS], "title": "Priority", "section": "Execution"},
    )
