"""One agent at work: what its parts share, so that each of them is small."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any, Literal

from airflow_sop_provider.runner.agents.budget import Meter
from airflow_sop_provider.runner.agents.config import AgentConfig
from airflow_sop_provider.runner.agents.journal import Journal
from airflow_sop_provider.runner.agents.procedure import Procedure
from airflow_sop_provider.runner.step_context import StepContext

__all__ = ["CallOutcome", "Work"]

CallOutcome = Literal["answered", "replayed", "refused", "failed"]


@dataclass
class Work:
    """What one agent has, does and has come to.

    :param functions: function's name -> ``<data source>.<tool>``.
    :param procedure: the whole SOP in agent-centric mode, None for a single step.
    :param ordinals: of the calls of data sources that are under way, by the function call's id.
    :param outcomes: how each function call ended, by the call's id.
    :param clock: the limit of whatever is under way; moved as calls begin and end.
    :param result: what the agent reported at its end.
    """

    context: StepContext
    config: AgentConfig
    meter: Meter
    journal: Journal
    functions: dict[str, str]
    answer_seconds: float
    procedure: Procedure | None = None
    ordinals: dict[str, int] = field(default_factory=dict)
    outcomes: dict[str, CallOutcome] = field(default_factory=dict)
    clock: asyncio.Timeout | None = None
    refusals: int = 0
    result: dict[str, Any] | None = None

    def step_of(self, tool: str) -> str:
        """Return the id of the step that a call of a tool belongs to."""
        return self.procedure.step_of_call(tool) if self.procedure else self.context.assignment.payload.step_id

    @property
    def current_step(self) -> str:
        """Id of the step that is worked on."""
        if self.procedure is None:
            return self.context.assignment.payload.step_id
        ready = self.procedure.ready
        return str(ready[0]["id"]) if ready else ""
