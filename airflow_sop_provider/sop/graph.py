"""Which step waits for which: the workflow graph and the one rule of what may run.

The rule (design, section 6): a step runs when no prerequisite failed and at least one ran, or it
has none; skipped prerequisites alone skip it; a failed prerequisite, direct or not, halts it. The
DAG factory expresses it as an Airflow trigger rule, everything else calls `fate`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal

from airflow_sop_provider.sop.step_models import Step

__all__ = ["Fate", "GraphError", "StepState", "WorkflowGraph", "find_cycles"]

StepState = Literal["pending", "running", "succeeded", "failed", "skipped", "halted"]
"""State of a step in an execution; `halted`: never runs, as a prerequisite failed."""

Fate = Literal["run", "wait", "skip", "halt"]
"""What the prerequisites' states mean for a step."""

_OVER = frozenset({"succeeded", "failed", "skipped", "halted"})


class GraphError(ValueError):
    """The steps do not form a graph: a cycle, or a prerequisite that is no step."""


class WorkflowGraph:
    """The steps of an SOP and their prerequisites; a directed graph without cycles.

    :raises GraphError: duplicate ids, an unknown prerequisite or a cycle.
    """

    def __init__(self, needs: Mapping[str, Iterable[str]]) -> None:
        self._needs: dict[str, tuple[str, ...]] = {step: tuple(dict.fromkeys(ids)) for step, ids in needs.items()}
        self._dependents: dict[str, tuple[str, ...]] = dict.fromkeys(self._needs, ())
        for step, ids in self._needs.items():
            for need in ids:
                if need not in self._needs:
                    raise GraphError(f"step `{step}` needs `{need}`, which is no step")
                self._dependents[need] += (step,)
        self.order: tuple[str, ...] = _topological(self._needs, self._dependents)

    @classmethod
    def of(cls, steps: Iterable[Step]) -> WorkflowGraph:
        """Return the graph of an SOP's steps."""
        listed = list(steps)
        needs = {step.id: step.needs for step in listed}
        if len(needs) != len(listed):
            raise GraphError("two steps have one id")
        return cls(needs)

    @property
    def step_ids(self) -> tuple[str, ...]:
        """Ids of all steps, in the order of the file."""
        return tuple(self._needs)

    @property
    def starts(self) -> tuple[str, ...]:
        """Steps without prerequisites."""
        return tuple(step for step, ids in self._needs.items() if not ids)

    @property
    def ends(self) -> tuple[str, ...]:
        """Steps that no other needs."""
        return tuple(step for step, ids in self._dependents.items() if not ids)

    @property
    def edges(self) -> tuple[tuple[str, str], ...]:
        """Pairs (prerequisite, dependent)."""
        return tuple((need, step) for step, ids in self._needs.items() for need in ids)

    def prerequisites(self, step: str) -> tuple[str, ...]:
        """Return the direct prerequisites of a step."""
        return self._needs[step]

    def dependents(self, step: str) -> tuple[str, ...]:
        """Return the steps that directly need this one."""
        return self._dependents[step]

    def ancestors(self, step: str) -> frozenset[str]:
        """Return all prerequisites of a step, direct or not."""
        return _reach(self._needs, step)

    def descendants(self, step: str) -> frozenset[str]:
        """Return all steps that need this one, directly or not."""
        return _reach(self._dependents, step)

    def fate(self, step: str, states: Mapping[str, StepState]) -> Fate:
        """Return what the states of its prerequisites mean for a step; no state means `pending`."""
        found = {states.get(need, "pending") for need in self._needs[step]}
        if found & {"failed", "halted"}:
            return "halt"
        if not found <= _OVER:
            return "wait"
        return "run" if not found or "succeeded" in found else "skip"

    def ready(self, states: Mapping[str, StepState]) -> tuple[str, ...]:
        """Return the pending steps that may start now, in topological order."""
        return tuple(
            step for step in self.order if states.get(step, "pending") == "pending" and self.fate(step, states) == "run"
        )

    def triggered_by(self, step: str, states: Mapping[str, StepState]) -> tuple[str, ...]:
        """Return the dependents that may start now that `step` has the state it has in `states`."""
        return tuple(
            dependent
            for dependent in self._dependents[step]
            if states.get(dependent, "pending") == "pending" and self.fate(dependent, states) == "run"
        )

    def settle(self, states: Mapping[str, StepState]) -> dict[str, StepState]:
        """Return `states` with every pending step that can no longer run marked skipped or halted."""
        settled: dict[str, StepState] = {step: states.get(step, "pending") for step in self._needs}
        for step in self.order:
            if settled[step] == "pending":
                fate = self.fate(step, settled)
                if fate == "skip":
                    settled[step] = "skipped"
                elif fate == "halt":
                    settled[step] = "halted"
        return settled


def _topological(needs: Mapping[str, tuple[str, ...]], dependents: Mapping[str, tuple[str, ...]]) -> tuple[str, ...]:
    """Return the steps, prerequisites first, else in the order of the file (Kahn's algorithm, in rounds)."""
    missing = {step: len(ids) for step, ids in needs.items()}
    order: list[str] = []
    free = [step for step, count in missing.items() if not count]
    while free:
        order.extend(free)
        freed: list[str] = []
        for step in free:
            for dependent in dependents[step]:
                missing[dependent] -= 1
                if not missing[dependent]:
                    freed.append(dependent)
        free = freed
    if len(order) != len(needs):
        cycle = find_cycles(needs)[0]
        raise GraphError(f"the steps need each other in a circle: {' -> '.join((*cycle, cycle[0]))}")
    return tuple(order)


def _reach(edges: Mapping[str, tuple[str, ...]], start: str) -> frozenset[str]:
    seen: set[str] = set()
    stack = [*edges[start]]
    while stack:
        step = stack.pop()
        if step not in seen:
            seen.add(step)
            stack.extend(edges[step])
    return frozenset(seen)


def find_cycles(needs: Mapping[str, Iterable[str]]) -> list[tuple[str, ...]]:
    """Return circles of steps that need each other; no step is in two of them, every group is in one.

    A circle (a, b) means: a is needed by b, which is needed by a. Unknown ids are ignored.
    """
    known = {step: [need for need in ids if need in needs] for step, ids in needs.items()}
    state: dict[str, int] = {}
    cycles: list[tuple[str, ...]] = []
    reported: set[str] = set()
    for root in known:
        if root in state:
            continue
        path, iterators = [root], [iter(known[root])]
        state[root] = 1
        while path:
            need = next(iterators[-1], None)
            if need is None:
                state[path.pop()] = 2
                iterators.pop()
            elif state.get(need) == 1:
                cycle = tuple(reversed(path[path.index(need) :]))
                if reported.isdisjoint(cycle):
                    reported.update(cycle)
                    cycles.append(cycle)
            elif need not in state:
                state[need] = 1
                path.append(need)
                iterators.append(iter(known[need]))
    return cycles
