"""A procedure of others, as far as an SOP can say it: steps, edges between them, and what became of each."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

__all__ = ["Built", "Edge", "Entry", "Flow", "ImportFailedError", "Imported", "Outcome", "Scope", "SourceStep"]

Outcome = Literal["mapped", "approximated", "refused"]
"""`mapped`: means the same; `approximated`: nearly, the note says what not; `refused`: a person does it, or nobody."""


class ImportFailedError(ValueError):
    """The document cannot become an SOP at all; the message says why."""


@dataclass(frozen=True)
class Edge:
    """What follows a step.

    :param target: key of the next step, None for the end.
    :param option: the option of the step's decision that leads there, None: always.
    :param failure: followed when the step fails.
    """

    target: str | None
    option: str | None = None
    failure: bool = False


@dataclass(frozen=True)
class Built:
    """The steps that stand for one step of the source, each needing the one before.

    :param body: fields of the steps beside `id`, `needs` and `when`.
    """

    body: list[dict[str, Any]]
    outcome: Outcome = "mapped"
    note: str = ""


@dataclass(frozen=True)
class Scope:
    """What the expressions of one step may read.

    :param inputs: name in the source -> input of the SOP.
    :param outputs: key of a source step -> id of the step with its outputs, of prerequisites only.
    """

    inputs: Mapping[str, str]
    outputs: Mapping[str, str]


@dataclass
class SourceStep:
    """One step of the source.

    :param key: unique in the document.
    :param build: gives its steps; None: nothing is done in it, others follow (starts, ends, headings).
    :param inside: key of the step that stands for it, for bodies of loops.
    :param options: options of its decision, all of them.
    """

    key: str
    kind: str
    title: str
    edges: list[Edge] = field(default_factory=list)
    build: Callable[[Scope], Built] | None = None
    inside: str | None = None
    options: tuple[str, ...] = ()
    note: str = ""


@dataclass
class Flow:
    """A whole procedure of the source.

    :param starts: keys of the first steps.
    :param inputs: name in the source -> (input of the SOP, JSON Schema).
    :param sources: data source -> server and tools, filled while steps are built.
    :param notes: what is to be said of the document beside its steps.
    """

    sop: str
    title: str
    description: str
    steps: list[SourceStep]
    starts: list[str]
    inputs: dict[str, tuple[str, dict[str, Any]]] = field(default_factory=dict)
    sources: dict[str, dict[str, Any]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def tool(self, server: str, name: str) -> str:
        """Return `<data source>.<tool>`, declared as a data source of the SOP."""
        from airflow_sop_provider.importers.texts import slug, tool_name

        source = slug(server, "source")
        tool = tool_name(name)
        entry = self.sources.setdefault(source, {"server": source, "tools": []})
        if tool not in entry["tools"]:
            entry["tools"].append(tool)
        return f"{source}.{tool}"


@dataclass(frozen=True)
class Entry:
    """What became of one step of the source.

    :param steps: ids of the SOP's steps that stand for it.
    """

    source: str
    kind: str
    outcome: Outcome
    steps: tuple[str, ...]
    note: str

    def as_dict(self) -> dict[str, Any]:
        """Return it as a JSON object."""
        return {"source": self.source, "kind": self.kind, "outcome": self.outcome, "steps": list(self.steps),
                "note": self.note}  # fmt: skip


@dataclass(frozen=True)
class Imported:
    """The SOP's text and the report: every step of the source exactly once."""

    text: str
    entries: tuple[Entry, ...]
    notes: tuple[str, ...]
