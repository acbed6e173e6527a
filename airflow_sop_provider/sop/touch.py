"""What one step may touch in the fleet: the least of what its SOP may."""

from __future__ import annotations

from airflow_sop_provider.sop.models import DataSource, Sop
from airflow_sop_provider.sop.step_models import RollbackStep, Step

__all__ = ["step_sources"]


def step_sources(sop: Sop, step: Step | RollbackStep) -> dict[str, DataSource]:
    """Return the data sources a step may touch, each with only the tools that the step names.

    An agent that carries out the whole SOP may touch ``sop.data_sources``. A rollback step's tool is
    included though its data source may not list it: naming it grants it to that step alone.
    """
    named = [step.tool] if step.tool is not None else []
    if isinstance(step, Step) and step.agent is not None:
        named += step.agent.tools
    tools: dict[str, list[str]] = {}
    for reference in dict.fromkeys(named):
        source, _, tool = reference.partition(".")
        tools.setdefault(source, []).append(tool)
    return {
        source: DataSource(server=sop.data_sources[source].server, tools=listed) for source, listed in tools.items()
    }
