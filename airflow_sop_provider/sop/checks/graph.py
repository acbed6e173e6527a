"""Ids and prerequisites: the steps must form a graph without cycles, all of it reachable."""

from __future__ import annotations

from airflow_sop_provider.sop.checks.document import Document
from airflow_sop_provider.sop.graph import find_cycles
from airflow_sop_provider.sop.problems import nearest
from airflow_sop_provider.sop.yaml_nodes import Path

__all__ = ["ITEMS_SUFFIX", "check_graph"]

ITEMS_SUFFIX = "_items"
"""The list of a `for_each` is a task of its own, named after the step with this ending."""


def check_graph(document: Document) -> None:
    """Report duplicate ids, unknown or repeated prerequisites, cycles, unreachable steps, rollback of no step."""
    _check_ids(document)
    _check_needs(document)
    _check_cycles(document)
    known = document.needs
    for step in document.rollback:
        after = step.data.get("after")
        if isinstance(after, str) and after not in known:
            document.report("unknown-step", f"{step.name} comes after `{after[:80]}`, which is no step",
                            (*step.path, "after"), _did_you_mean(after, known))  # fmt: skip


def _check_ids(document: Document) -> None:
    places: dict[str, Path] = {}
    for step in [*document.steps, *document.rollback]:
        if step.id is None:
            continue
        first = places.setdefault(step.id, step.path)
        if first != step.path:
            document.report("duplicate-step", f"the id `{step.id[:80]}` is already that of {_at(first)}",
                            (*step.path, "id"), "ids of steps and rollback steps are unique in an SOP")  # fmt: skip
    for step in document.steps:
        listed = f"{step.id}{ITEMS_SUFFIX}"
        if step.id is not None and step.data.get("for_each") is not None and listed in places:
            document.report("duplicate-step", f"the id `{listed}` is taken by the items of step `{step.id}`",
                            (*places[listed], "id"), "give this step another id")  # fmt: skip


def _at(path: Path) -> str:
    return f"{'rollback step' if path[0] == 'rollback' else 'step'} {int(path[1]) + 1}"


def _check_needs(document: Document) -> None:
    known = document.needs
    for step in document.steps:
        listed = step.data.get("needs")
        seen: set[str] = set()
        for index, need in enumerate(listed if isinstance(listed, list) else []):
            if not isinstance(need, str):
                continue
            path = (*step.path, "needs", index)
            if need not in known:
                document.report("unknown-step", f"{step.name} needs `{need[:80]}`, which is no step", path,
                                _did_you_mean(need, known))  # fmt: skip
            elif need in seen:
                document.report("duplicate-need", f"{step.name} needs `{need}` twice", path, "keep one of them")
            seen.add(need)


def _check_cycles(document: Document) -> None:
    needs = document.needs
    cycles = find_cycles(needs)
    paths = {step.id: step.path for step in reversed(document.steps)}
    for cycle in cycles:
        circle = " -> ".join((*cycle, cycle[0]))
        document.report("cycle", f"steps need each other in a circle: {circle}", (*paths[cycle[0]], "needs"),
                        "remove one of these from `needs`")  # fmt: skip
    if cycles:
        on_cycle = {step for cycle in cycles for step in cycle}
        for step in sorted(_unreachable(needs) - on_cycle):
            document.report("unreachable-step", f"step `{step}` is never reached: it waits for steps in a circle",
                            (*paths[step], "id"))  # fmt: skip


def _unreachable(needs: dict[str, list[str]]) -> set[str]:
    """Return the steps that never come to run, as the steps they wait for never do."""
    waiting = {step: {need for need in ids if need in needs} for step, ids in needs.items()}
    while free := {step for step, ids in waiting.items() if not ids}:
        waiting = {step: ids - free for step, ids in waiting.items() if step not in free}
    return set(waiting)


def _did_you_mean(name: str, known: dict[str, list[str]]) -> str | None:
    match = nearest(name, known)
    return f"did you mean `{match}`?" if match else None
