"""The same SOP in both modes: does one agent that carries out all of it come to what the engine's steps come to?

Both run in this process as their containers would, on the same inputs, servers and models. Results are equivalent if
the execution ends alike, every step that is no free text has the same outputs, every decision the same choice, and the
same data was read. What an agent words freely is never the same twice and is shown, not compared.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from airflow_sop_provider.contract.conformance import check_conformance
from airflow_sop_provider.contract.verdict import Usage
from airflow_sop_provider.engine.execution_context import AGENT_STEP
from airflow_sop_provider.evals.compare import same
from airflow_sop_provider.evals.execution import InProcess
from airflow_sop_provider.evals.models import Case
from airflow_sop_provider.evals.trace import Trace
from airflow_sop_provider.sop import LoadedSop
from airflow_sop_provider.sop.loader import check_text
from airflow_sop_provider.sop.mode import ExecutionMode
from airflow_sop_provider.sop.source import Source
from airflow_sop_provider.sop.yaml_nodes import parse, to_data

__all__ = ["Difference", "ImpossibleMode", "ModeRun", "Parity", "compare_modes", "in_mode"]

MODES: tuple[ExecutionMode, ExecutionMode] = ("system_design", "agent_centric")
_SUMMED = ("input_tokens", "output_tokens", "model_calls", "tool_calls", "repairs", "cost")


class ImpossibleMode(ValueError):
    """The SOP cannot be carried out in both modes; the message says why."""


@dataclass(frozen=True)
class ModeRun:
    """One execution in one mode.

    :param decisions: step -> choice.
    :param free_text: steps whose outputs an agent words freely.
    :param spent: what agents spent, by the names of `Usage`; cost is None without prices.
    :param deviations: of what was recorded from the SOP, as sentences.
    """

    mode: ExecutionMode
    status: str
    seconds: float
    outputs: Mapping[str, Any]
    decisions: Mapping[str, str]
    tools: tuple[str, ...]
    free_text: frozenset[str]
    spent: Mapping[str, float | None]
    failures: Mapping[str, str]
    deviations: tuple[str, ...]


@dataclass(frozen=True)
class Difference:
    """One thing that is not the same in both modes."""

    what: str
    system_design: Any
    agent_centric: Any


@dataclass(frozen=True)
class Parity:
    """Both executions, and what is different."""

    runs: Mapping[ExecutionMode, ModeRun]
    differences: tuple[Difference, ...]

    @property
    def equivalent(self) -> bool:
        """Whether both came to the same, and neither departed from the SOP."""
        return not self.differences and not any(run.deviations for run in self.runs.values())


def in_mode(loaded: LoadedSop, mode: ExecutionMode) -> LoadedSop:
    """Return the SOP as it is in another mode; steps without any `needs` follow each other, as an agent does them.

    :raises ImpossibleMode: one agent cannot carry it out.
    """
    if mode == "agent_centric" and loaded.mode.incompatibilities:
        reasons = "; ".join(found.reason for found in loaded.mode.incompatibilities)
        raise ImpossibleMode(f"`{loaded.sop.sop}` has system_design mode alone: {reasons}.")
    root, _ = parse(Source(loaded.text, str(loaded.path)))
    assert root is not None, "it was loaded"
    document: dict[str, Any] = {**to_data(root), "mode": mode}
    steps: list[dict[str, Any]] = document["steps"]
    if mode == "system_design" and not any(step.get("needs") for step in steps):
        for before, step in pairwise(steps):
            step["needs"] = [before["id"]]
    return check_text(json.dumps(document), str(loaded.path)).unwrap()


def compare_modes(loaded: LoadedSop, inputs: Mapping[str, Any], fleet: Path, log: Path) -> Parity:
    """Carry the SOP out in both modes and compare.

    :param fleet: ``fleet.yaml`` with its servers.
    :param log: file that takes the steps' logs.
    :raises ImpossibleMode: as `in_mode`.
    """
    variants = {mode: in_mode(loaded, mode) for mode in MODES}
    runs: dict[ExecutionMode, ModeRun] = {}
    for mode, variant in variants.items():
        case = Case(id=mode, inputs=dict(inputs))
        trace = InProcess(variant, fleet=fleet, log=log).execute(case)
        runs[mode] = _run(mode, variant, trace)
    return Parity(runs, tuple(_differences(runs["system_design"], runs["agent_centric"])))


def _run(mode: ExecutionMode, loaded: LoadedSop, trace: Trace) -> ModeRun:
    sop = loaded.sop
    choices = {step.id: trace.choice(step.id) for step in sop.steps if step.decision is not None}
    document = sop.model_dump(mode="json", exclude_none=True, exclude_defaults=True)
    found = check_conformance(document, _recorded(mode, trace), alone=mode == "agent_centric")
    return ModeRun(
        mode=mode,
        status=str(trace.status),
        seconds=round(trace.seconds, 3),
        outputs=trace.outputs,
        decisions={step: choice for step, choice in choices.items() if choice is not None},
        tools=trace.tools,
        free_text=frozenset(step.id for step in sop.steps if step.agent is not None and step.outputs is None),
        spent=_spent(trace.usage.values()),
        failures=trace.failures,
        # of an execution that failed it says little that steps were not done
        deviations=tuple(
            f"{one.step}: {one.text}" for one in found if not (trace.failures and one.rule == "required-steps")
        ),
    )


def _recorded(mode: ExecutionMode, trace: Trace) -> Iterator[Mapping[str, Any]]:
    if mode == "agent_centric":
        yield from trace.events.get(AGENT_STEP, ())
        return
    for task, events in trace.events.items():
        yield from ({**event, "step": task} for event in events)
        yield {"event": "attempt.end", "step": task, "status": trace.states.get(task)}


def _spent(usages: Any) -> dict[str, float | None]:
    listed: list[Usage] = list(usages)
    return {name: _sum([getattr(usage, name) for usage in listed], name) for name in _SUMMED}


def _sum(values: list[float | None], name: str) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) if known or name != "cost" else None


def _differences(system: ModeRun, alone: ModeRun) -> Iterator[Difference]:
    if system.status != alone.status:
        yield Difference("status", system.status, alone.status)
    for step in sorted({*system.outputs, *alone.outputs}):
        one, other = system.outputs.get(step), alone.outputs.get(step)
        if step in system.free_text:
            if bool(one) != bool(other):
                yield Difference(f"outputs of {step}", one, other)
        elif step in {*system.decisions, *alone.decisions}:
            choices = system.decisions.get(step), alone.decisions.get(step)
            if choices[0] != choices[1]:
                yield Difference(f"choice of {step}", *choices)
        elif not same(one, other):
            yield Difference(f"outputs of {step}", one, other)
    if Counter(system.tools) != Counter(alone.tools):
        yield Difference("tools called", sorted(system.tools), sorted(alone.tools))
