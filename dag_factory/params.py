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
    scheduled = sop.schedule is not None
    return {**{name: _param(schema, scheduled) for name, schema in sop.inputs.items()}, PRIORITY_KEY: _priority(sop)}


def _param(schema: dict[str, Any], scheduled: bool) -> Param:
    rest = copy.deepcopy(schema)
    description = rest.pop("description", None)
    if "default" in rest:
        return Param(rest.pop("default"), description, schema=rest)
    if scheduled:
        # Airflow takes no DAG with a schedule and a param that has no value. So it may be empty here; an
        # execution without it is created and fails with `InputsError`, where everybody can see why.
        return Param(None, description, schema={"anyOf": [rest, {"type": "null"}], **_shown(rest)})
    return Param(description=description, schema=rest)


def _shown(schema: dict[str, Any]) -> dict[str, Any]:
    """Return the part of a schema by which the trigger form chooses its field."""
    shown: dict[str, Any] = {name: schema[name] for name in ("title", "format", "section") if name in schema}
    if isinstance(kind := schema.get("type"), str):
        shown["type"] = [kind, "null"]
    return shown


def _priority(sop: Sop) -> Param:
    return Param(
        sop.priority,
        "Priority of this execution among those that wait.",
        schema={"type": "string", "enum": [*PRIORITY_WEIGHTS], "title": "Priority", "section": "Execution"},
    )
