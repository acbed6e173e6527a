"""Does what was done agree with the SOP? A trace of events against the document, in both modes, step by step.

Pure and apart from whatever enforced the SOP while it ran: it looks at the recorded events alone, as an auditor would,
so a mistake of the enforcement shows here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["Deviation", "check_conformance", "explain", "order_of"]


_ACCESSES = ("data.access", "tool.call")
"""How a runner calls a call to a data source, without a gateway and with one (`engine_access.access_event`)."""


_ALONE = "agent"
"""Id of the one task of an agent-centric execution."""
_ITEMS = "_items"
"""How the task is called that lists the items of a step."""


@dataclass(frozen=True)
class Deviation:
    """One place where the trace departs from the SOP.

    :param step: id of the step; empty for the SOP as a whole.
    :param rule: ``required-steps``, ``order``, ``allowed-tools``, ``decision-options`` or ``known-steps``.
    :param text: a sentence.
    """

    step: str
    rule: str
    text: str


def order_of(sop: Mapping[str, Any], *, alone: bool) -> dict[str, tuple[str, ...]]:
    """Return the prerequisites of each step.

    :param alone: one agent carries out the SOP: from top to bottom where no step has `needs`.
    """
    steps: list[Mapping[str, Any]] = sop["steps"]
    if not alone or any(step.get("needs") for step in steps):
        return {step["id"]: tuple(step.get("needs") or ()) for step in steps}
    ids = [step["id"] for step in steps]
    return {step: tuple(ids[max(0, index - 1) : index]) for index, step in enumerate(ids)}


def check_conformance(
    sop: Mapping[str, Any],
    events: Iterable[Mapping[str, Any]],
    *,
    alone: bool,
    done: Iterable[str] = (),
    skipped: Iterable[str] = (),
) -> tuple[Deviation, ...]:
    """Return every deviation of a trace.

    :param events: of a runner, in order; an event's step is ``sop_step``, else ``step``.
    :param alone: the SOP was carried out by one agent.
    :param done: steps that were done before the trace begins, by an earlier attempt.
    :param skipped: steps that the engine skipped without an attempt, as their prerequisites were.
    """
    trace = _Trace(sop, alone, set(done), set(skipped))
    for event in events:
        trace.follow(event)
    return tuple(trace.end())


def explain(sop: Mapping[str, Any], deviations: Iterable[Deviation]) -> list[str]:
    """Return a line for each step, and for the SOP as a whole if something is to be said of it."""
    found: dict[str, list[str]] = {}
    for deviation in deviations:
        found.setdefault(deviation.step, []).append(deviation.text)
    ids = [step["id"] for step in sop["steps"]]
    lines = [f"{step}: {' '.join(found.get(step, ['as the SOP says.']))}" for step in ids]
    return [*lines, *(f"{step or 'SOP'}: {' '.join(texts)}" for step, texts in found.items() if step not in ids)]


class _Trace:
    def __init__(self, sop: Mapping[str, Any], alone: bool, done: set[str], skipped: set[str]) -> None:
        self._required = [str(step["id"]) for step in sop["steps"]]
        rollback: list[Mapping[str, Any]] = sop.get("rollback") or []
        self._steps: dict[str, Mapping[str, Any]] = {step["id"]: step for step in (*sop["steps"], *rollback)}
        self._needs = {**order_of(sop, alone=alone), **{step["id"]: (step["after"],) for step in rollback}}
        self._tools = {step: _allowed(sop, self._steps[step], alone) for step in self._steps}
        self._alone = alone
        self._done = done
        self._skipped = skipped
        self._found: list[Deviation] = []

    def follow(self, event: Mapping[str, Any]) -> None:
        step, name = str(event.get("sop_step") or event.get("step") or ""), event.get("event")
        if name not in (*_ACCESSES, "decision", "agent.result", "attempt.end"):
            return
        if event.get("scope") == "sop" or (self._alone and name == "attempt.end"):
            return
        if name in _ACCESSES and not event.get("tool"):  # a server's list of tools
            return
        if self._alone and step == _ALONE:  # the gateway's own record, which does not know the agent's step
            self._called_by_agent(event)
            return
        if step.removesuffix(_ITEMS) != step and "for_each" in self._steps.get(step.removesuffix(_ITEMS), {}):
            return
        if step not in self._steps:
            self._add(step, "known-steps", f"The SOP has no step `{step}`.")
            return
        missing = [need for need in self._needs[step] if need not in self._done | self._skipped]
        if missing:
            self._add(step, "order", f"It was worked on before {', '.join(missing)} was done.")
        if name in _ACCESSES and (event.get("server"), event.get("tool")) not in self._tools[step]:
            self._add(step, "allowed-tools", f"It called {event.get('server')}.{event.get('tool')}.")
        if name == "decision" and event.get("choice") not in (self._steps[step].get("decision") or {}).get(
            "options", ()
        ):
            self._add(step, "decision-options", f"It decided `{event.get('choice')}`, which is no option.")
        self._ended(step, event)

    def end(self) -> list[Deviation]:
        for step in self._required:
            if step not in self._done | self._skipped:
                self._add(step, "required-steps", "It was not done.")
        return list(dict.fromkeys(self._found))

    def _called_by_agent(self, event: Mapping[str, Any]) -> None:
        call = (event.get("server"), event.get("tool"))
        if event.get("event") == "data.access" and call not in set().union(*self._tools.values()):
            self._add("", "allowed-tools", f"The agent called {call[0]}.{call[1]}.")

    def _ended(self, step: str, event: Mapping[str, Any]) -> None:
        if event["event"] == "agent.result" or event.get("status") == "succeeded":
            self._done.add(step)
        elif event.get("status") == "skipped":
            self._skipped.add(step)

    def _add(self, step: str, rule: str, text: str) -> None:
        self._found.append(Deviation(step, rule, text))


def _allowed(sop: Mapping[str, Any], step: Mapping[str, Any], alone: bool) -> set[tuple[str, str]]:
    """Return (server, tool) of what a step may call; one agent may read with tools that no step names at any time."""
    sources: Mapping[str, Any] = sop.get("data_sources") or {}
    named = _named(step)
    if alone:
        all_named = {tool for other in sop["steps"] for tool in _named(other)}
        offered = {f"{name}.{tool}" for name, source in sources.items() for tool in source["tools"]}
        named |= offered - all_named
    return {
        (sources[tool.partition(".")[0]]["server"], tool.partition(".")[2])
        for tool in named
        if tool.partition(".")[0] in sources
    }


def _named(step: Mapping[str, Any]) -> set[str]:
    return {*([step["tool"]] if step.get("tool") else []), *((step.get("agent") or {}).get("tools") or ())}
