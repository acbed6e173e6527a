"""Execution modes: which one an SOP runs in, and what one agent cannot carry out.

`system_design` runs every step as a task of its own and is always possible. `agent_centric` gives
the whole SOP to one agent, which works from top to bottom: whatever needs the engine between
steps - branches, joins, fan-out, approvals, containers, rollback - is incompatible with it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from airflow_sop_provider.sop.models import Sop

__all__ = ["Incompatibility", "ModeChoice", "choose_mode", "incompatibilities"]

ExecutionMode = Literal["system_design", "agent_centric"]
_FEATURES = (
    ("when", "is run on a condition (`when`)"),
    ("for_each", "runs once for each item (`for_each`)"),
    ("approval", "waits for an approval"),
    ("command", "runs a command in its own container"),
)


@dataclass(frozen=True, slots=True)
class Incompatibility:
    """One reason why an SOP cannot run in agent-centric mode.

    :param step: id of the step, None for the SOP as a whole.
    :param path: keys and indices from the document's root to what is at fault.
    :param reason: a sentence.
    """

    step: str | None
    path: tuple[str | int, ...]
    reason: str


@dataclass(frozen=True, slots=True)
class ModeChoice:
    """The mode an SOP runs in.

    :param reason: why, a sentence.
    :param incompatibilities: what keeps the SOP from `agent_centric`; not empty only for `system_design`
        unless the SOP is invalid.
    """

    mode: ExecutionMode
    reason: str
    incompatibilities: tuple[Incompatibility, ...] = ()

    @property
    def valid(self) -> bool:
        """Whether the SOP can run in the mode."""
        return self.mode == "system_design" or not self.incompatibilities


def choose_mode(sop: Sop) -> ModeChoice:
    """Return the mode of an SOP and why; an incompatible one is reported in the result, not raised."""
    return choose_mode_of(sop.model_dump(mode="json", exclude_none=True, exclude_defaults=True))


def choose_mode_of(document: Mapping[str, Any]) -> ModeChoice:
    """Return the mode of an SOP given as plain data, valid or not."""
    found = tuple(incompatibilities(document))
    asked = document.get("mode", "auto")
    if asked in ("system_design", "agent_centric"):
        return ModeChoice(asked, f"the SOP asks for it: `mode: {asked}`", found)
    if any(step.get("needs") for _, step in _steps(document)):
        return ModeChoice("system_design", "steps depend on each other (`needs`)", found)
    return ModeChoice("agent_centric", "no step has `needs`", found)


def incompatibilities(document: Mapping[str, Any]) -> Iterator[Incompatibility]:
    """Yield every reason why an SOP, given as plain data, cannot run in agent-centric mode."""
    steps = list(_steps(document))
    dependents: dict[str, int] = {}
    for _, step in steps:
        for need in _needs(step):
            dependents[need] = dependents.get(need, 0) + 1
    for index, step in steps:
        name = step.get("id")
        name = name if isinstance(name, str) else f"number {index + 1}"
        path: tuple[str | int, ...] = ("steps", index)
        needs = _needs(step)
        if len(needs) > 1:
            yield Incompatibility(name, (*path, "needs"), f"step `{name}` has {len(needs)} prerequisites")
        if dependents.get(name, 0) > 1:
            yield Incompatibility(name, (*path, "id"), f"step `{name}` has {dependents[name]} dependents")
        for key, reason in _FEATURES:
            if step.get(key) is not None:
                yield Incompatibility(name, (*path, key), f"step `{name}` {reason}")
    if document.get("rollback"):
        yield Incompatibility(None, ("rollback",), "the SOP has `rollback` steps")


def _steps(document: Mapping[str, Any]) -> Iterator[tuple[int, Mapping[str, Any]]]:
    steps = document.get("steps")
    for index, step in enumerate(steps if isinstance(steps, list) else []):
        if isinstance(step, Mapping):
            yield index, step


def _needs(step: Mapping[str, Any]) -> set[str]:
    needs = step.get("needs")
    return {need for need in needs if isinstance(need, str)} if isinstance(needs, list) else set()
