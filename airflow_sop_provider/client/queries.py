"""Requests that only read, beside those of one execution: figures, audit entries, a step's log."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from urllib.parse import quote

from airflow_sop_provider.client.calls import Call, parts_of

__all__ = ["audit_call", "events_path", "log_call", "metrics_call"]

_BASE = "/sop/api/v1"


def metrics_call(since: datetime | None, until: datetime | None) -> Call:
    """Return the request for the figures of a window of time."""
    return Call(method="GET", path=f"{_BASE}/metrics/summary", params=_given({"since": since, "until": until}))


def audit_call(filters: Mapping[str, Any]) -> Call:
    """Return the request for a page of audit entries."""
    return Call(method="GET", path=f"{_BASE}/audit/entries", params=_given(filters))


def events_path(execution: str) -> str:
    """Return where an execution is followed by server-sent events.

    :raises EngineError: it is no execution's id.
    """
    sop, run_id = parts_of(execution)
    return f"{_BASE}/sops/{quote(sop, safe='')}/executions/{quote(run_id, safe='')}/events"


def log_call(execution: str, step: str, attempt: int, map_index: int) -> Call:
    """Return the request for the log of an attempt.

    It is Airflow's own: who may read a task's log there may read it here, wherever it is kept.

    :raises EngineError: ``execution`` is no execution's id.
    """
    sop, run_id = (quote(part, safe="") for part in parts_of(execution))
    path = f"/api/v2/dags/{sop}/dagRuns/{run_id}/taskInstances/{quote(step, safe='')}/logs/{attempt}"
    return Call(
        method="GET",
        path=path,
        params={"map_index": map_index, "full_content": True},
        headers={"Accept": "application/json"},
    )


def _given(values: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: value.isoformat() if isinstance(value, datetime) else value
        for name, value in values.items()
        if value is not None
    }
