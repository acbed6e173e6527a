"""What an SOP expects of a tool's result: the `outputs` of the steps that call it.

A tool step's outputs are its tool's result, so whoever hands the result on can hold it against them, before a runner,
or an agent that carries out the whole SOP, has seen it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from airflow_sop_provider.sop.models import Sop
from airflow_sop_provider.sop.step_models import RollbackStep, Step

__all__ = ["expected_outputs"]


def expected_outputs(sop: Sop, step: str | None) -> dict[tuple[str, str], dict[str, Any]]:
    """Return (server, tool) -> the JSON Schema that a result has to fit.

    :param step: id of the step (or rollback step) that calls, None for an agent that carries out the whole SOP. What it
        calls fits if it fits one of the steps that call that tool; a step without `outputs` takes anything.
    """
    expected: dict[tuple[str, str], list[dict[str, Any] | None]] = {}
    for one in _callers(sop, step):
        if one.tool_name is not None:
            source, tool = one.tool_name
            expected.setdefault((sop.data_sources[source].server, tool), []).append(one.outputs)
    return {
        called: schemas[0] if len(schemas) == 1 else {"anyOf": schemas}
        for called, listed in expected.items()
        if (schemas := [schema for schema in listed if schema is not None]) and len(schemas) == len(listed)
    }


def _callers(sop: Sop, step: str | None) -> Iterable[Step | RollbackStep]:
    everything: list[Step | RollbackStep] = [*sop.steps, *sop.rollback]
    return everything if step is None else [one for one in everything if one.id == step]
