"""What an execution of a case came to, wherever it ran: what scores are computed from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from airflow_sop_provider.contract.verdict import Usage
from airflow_sop_provider.engine.execution_state import ExecutionStatus
from airflow_sop_provider.evals.models import Case
from airflow_sop_provider.sop.graph import StepState

__all__ = ["CaseExecutor", "Trace"]


@dataclass(frozen=True, kw_only=True)
class Trace:
    """An execution of one case, over.

    :param outputs: step -> outputs, of the steps that succeeded.
    :param tools: `<data source>.<tool>` of each call, in order.
    :param failures: step -> why it failed, of the steps that did.
    :param seconds: how long it took.
    :param execution: run id, where it was an execution of an Airflow.
    :param events: task -> what its last attempt recorded, where that is known.
    :param usage: task -> what it used, likewise.
    """

    status: ExecutionStatus
    states: Mapping[str, StepState]
    outputs: Mapping[str, Any]
    tools: tuple[str, ...] = ()
    failures: Mapping[str, str] = field(default_factory=dict)
    seconds: float = 0.0
    execution: str | None = None
    events: Mapping[str, tuple[Mapping[str, Any], ...]] = field(default_factory=dict)
    usage: Mapping[str, Usage] = field(default_factory=dict)

    def choice(self, step: str) -> str | None:
        """Return what a decision chose, None if it chose nothing."""
        outputs = self.outputs.get(step)
        choice = outputs.get("choice") if isinstance(outputs, Mapping) else None
        return choice if isinstance(choice, str) else None


class CaseExecutor(Protocol):
    """Executes cases, one after the other."""

    def execute(self, case: Case) -> Trace:
        """Execute one case to its end; what goes wrong in the SOP is in the trace."""
