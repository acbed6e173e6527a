"""Executions that many tests look at, begun together: what costs time is waiting, and they wait at the same time."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.integration.airflow_system import AirflowSystem

_EVERYWHERE: dict[str, tuple[str, dict[str, Any]]] = {
    "chain": ("compute-chain", {"number": 4}),
    "fan-out": ("fan-out", {"count": 4}),
    "transient": ("flaky", {"code": 75, "failures": 2}),
    "permanent": ("flaky", {"code": 65, "failures": 9}),
    "talk": ("talker", {"lines": 3000}),
    "undo": ("undo", {}),
}
_ON_SQLITE: dict[str, tuple[str, dict[str, Any]]] = {
    "defaults": ("compute-chain", {}),
    "quick": ("branch", {"amount": 5}),
    "thorough": ("branch", {"amount": 50}),
    "exhausted": ("flaky", {"code": 75, "failures": 99}),
    "plain": ("plain", {}),
    "misplaced": ("misplaced", {}),
    "from-a-file": ("from-a-file", {}),
    "nothing to undo": ("undo", {"code": 0}),
}
_TRACED = ("flaky", "undo")
"""SOPs whose steps write into a file that proves how often they ran."""


@dataclass(frozen=True)
class Execution:
    """An execution that was triggered and may still run."""

    airflow: AirflowSystem
    sop: str
    run: str
    trace: Path

    def state(self) -> str:
        """Wait for the end; return the state."""
        return self.airflow.wait_for_run(self.sop, self.run)

    def outputs(self, step: str, map_index: int = -1) -> Any:
        return self.airflow.api.outputs(self.sop, self.run, step, map_index)

    def attempt(self, step: str) -> int:
        return self.airflow.step(self.sop, self.run, step).attempt

    def step_states(self) -> dict[str, str]:
        return self.airflow.step_states(self.sop, self.run)

    def log_lines(self, step: str) -> list[str]:
        return self.airflow.log_lines(self.sop, self.run, step)


class Begun:
    """Triggers all of them; `begun["chain"]` is one."""

    def __init__(self, airflow: AirflowSystem, folder: Path) -> None:
        wanted = _EVERYWHERE if airflow.instance.database else {**_EVERYWHERE, **_ON_SQLITE}
        self._executions: dict[str, Execution] = {}
        for number, (name, (sop, conf)) in enumerate(wanted.items()):
            trace = folder / f"{number}.txt"
            trace.touch()
            traced = {"trace": str(trace)} if sop in _TRACED else {}
            self._executions[name] = Execution(airflow, sop, airflow.trigger(sop, **conf, **traced), trace)

    def __getitem__(self, name: str) -> Execution:
        return self._executions[name]
