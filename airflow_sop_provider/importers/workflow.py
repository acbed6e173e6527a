"""What documents that map ids to steps and name the first have in common, whoever's they are."""

from __future__ import annotations

from typing import Any

from airflow_sop_provider.importers.flow import Flow, ImportFailedError
from airflow_sop_provider.importers.texts import clean, one_line, slug

__all__ = ["workflow_of"]


def workflow_of(
    document: dict[str, Any], name: str, *, steps: str, first: str, called: str
) -> tuple[Flow, dict[str, dict[str, Any]], str]:
    """Return the flow, still without steps, the source's steps by their ids, and the id of the first.

    :param name: of the SOP.
    :param steps: key of the mapping.
    :param first: key of the id of the first.
    :param called: what the source calls a step.
    :raises ImportFailedError: there is no such mapping, or no such first step.
    """
    found = document.get(steps)
    if not isinstance(found, dict) or not all(isinstance(step, dict) for step in found.values()):
        raise ImportFailedError(f"`{steps}` is not a mapping of ids to {called}s")
    start = str(document.get(first, ""))
    if start not in found:
        raise ImportFailedError(f"`{first}` names `{start[:80]}`, which is no {called}")
    title = one_line(document.get("name") or name, name)
    return Flow(slug(name, "sop"), title, clean(document.get("description") or ""), [], [start]), found, start
