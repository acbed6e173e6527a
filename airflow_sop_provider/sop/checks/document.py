"""The document that checks look at, and where they report."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Any

from airflow_sop_provider.sop.models import MAX_STEPS
from airflow_sop_provider.sop.problems import MAX_PROBLEMS, Problem
from airflow_sop_provider.sop.source import Source
from airflow_sop_provider.sop.yaml_nodes import Node, Path, find_node, place_of

__all__ = ["Document", "Enough", "StepView"]


class Enough(Exception):
    """So many problems were found that looking on makes no sense."""


class StepView:
    """A step, or rollback step, as far as it can be read.

    :param path: keys and indices from the root to the step.
    """

    def __init__(self, path: Path, data: Mapping[str, Any]) -> None:
        self.path = path
        self.data = data
        self.id: str | None = data["id"] if isinstance(data.get("id"), str) else None
        self.is_rollback = path[0] == "rollback"

    @property
    def name(self) -> str:
        """How messages call the step."""
        kind = "rollback step" if self.is_rollback else "step"
        return f"{kind} `{self.id[:80]}`" if self.id is not None else f"{kind} {int(self.path[1]) + 1}"


class Document:
    """An SOP as plain data, with places, and the problems found in it."""

    def __init__(self, data: Mapping[str, Any], root: Node, source: Source) -> None:
        self.data = data
        self.root = root
        self.source = source
        self.problems: list[Problem] = []

    def report(
        self, code: str, message: str, path: Path, suggestion: str | None = None, *,
        key: bool = False, word: str | None = None,
    ) -> None:  # fmt: skip
        """Add a problem.

        :param path: what is at fault.
        :param key: point to its key rather than its value.
        :param word: point to this word inside its text, if it is found there.
        """
        line, column = place_of(self.root, path, key=key)
        node = find_node(self.root, path) if word else None
        if word and node is not None:
            found = self.source.find(word, (node.line, node.column), (node.end_line, node.end_column))
            line, column = found or (line, column)
        if len(self.problems) >= MAX_PROBLEMS:
            raise Enough
        self.problems.append(self.source.problem(code, message, line, column, suggestion))

    def mapping(self, key: str) -> dict[str, Any]:
        """Return the mapping under a key of the root, an empty one if there is none."""
        value = self.data.get(key)
        return value if isinstance(value, dict) else {}

    @cached_property
    def steps(self) -> list[StepView]:
        """All steps that are mappings."""
        return list(self._views("steps"))

    @cached_property
    def rollback(self) -> list[StepView]:
        """All rollback steps that are mappings."""
        return list(self._views("rollback"))

    @cached_property
    def needs(self) -> dict[str, list[str]]:
        """Prerequisites of each step with an id, unknown ones included; the first step of an id counts."""
        needs: dict[str, list[str]] = {}
        for step in self.steps:
            if step.id is not None:
                listed = step.data.get("needs")
                needs.setdefault(step.id, [need for need in listed if isinstance(need, str)]
                                 if isinstance(listed, list) else [])  # fmt: skip
        return needs

    def _views(self, key: str) -> Iterator[StepView]:
        listed = self.data.get(key)
        for index, data in enumerate(listed[:MAX_STEPS] if isinstance(listed, list) else []):
            if isinstance(data, dict):
                yield StepView((key, index), data)
