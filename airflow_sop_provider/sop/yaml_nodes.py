"""YAML text -> nodes that know their place, in one pass over libyaml's events.

Composing here rather than in PyYAML keeps three promises at once: the place of every key and
value is kept for messages, bounds on depth, nodes and expanded aliases hold while the text is
being read (a bomb is refused before it unfolds), and duplicate keys are seen instead of lost.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NoReturn

import yaml
from yaml.events import (
    AliasEvent,
    DocumentEndEvent,
    DocumentStartEvent,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    StreamEndEvent,
)

from airflow_sop_provider.sop.problems import MAX_PROBLEMS, Problem
from airflow_sop_provider.sop.scalars import Ambiguous, plain_scalar, tagged_scalar
from airflow_sop_provider.sop.source import Source

__all__ = ["MAX_DEPTH", "MAX_NODES", "Node", "Path", "find_node", "parse", "place_of", "to_data"]

MAX_DEPTH = 40
"""Deepest nesting of mappings and lists."""

MAX_NODES = 20_000
"""Most values of a document, aliases counted as what they stand for."""

Path = tuple[str | int, ...]
_Event = Any  # the stubs know neither that events have marks nor which attributes each has
_CORE_COLLECTIONS = ("tag:yaml.org,2002:map", "tag:yaml.org,2002:seq", "!")


@dataclass(slots=True)
class Node:
    """A value of the document. Lines and columns count from 1; `size` counts it and all below it."""

    kind: str  # scalar | map | list
    line: int
    column: int
    end_line: int = 0
    end_column: int = 0
    size: int = 1
    scalar: Any = None
    text: str = ""
    plain: bool = False
    pairs: dict[str, tuple[Node, Node]] | None = None
    items: list[Node] | None = None


class _Stop(Exception):
    """Reading on makes no sense; the one problem says why."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem


class _Composer:
    def __init__(self, source: Source) -> None:
        self.source = source
        self.problems: list[Problem] = []
        self.anchors: dict[str, Node | None] = {}
        self.count = 0
        self.events: Any = yaml.CSafeLoader(source.text)

    def document(self) -> Node | None:
        self.events.get_event()
        first = self.events.get_event()
        if isinstance(first, StreamEndEvent):
            return None
        root = self.node(self.events.get_event(), 0)
        while not isinstance(event := self.events.get_event(), StreamEndEvent):
            if isinstance(event, DocumentStartEvent):
                self.stop("multiple-documents", "the file holds more than one YAML document", event,
                          "one file holds one SOP: move the text after `---` into a file of its own")  # fmt: skip
            assert isinstance(event, DocumentEndEvent)
        return root

    def stop(self, code: str, message: str, event: _Event, suggestion: str | None = None) -> NoReturn:
        mark = event.start_mark
        raise _Stop(self.source.problem(code, message, mark.line + 1, mark.column + 1, suggestion))

    def report(self, code: str, message: str, node: Node, suggestion: str | None = None) -> None:
        if len(self.problems) < MAX_PROBLEMS:
            self.problems.append(self.source.problem(code, message, node.line, node.column, suggestion))

    def node(self, event: _Event, depth: int) -> Node:
        self.count += 1
        if self.count > MAX_NODES:
            self.stop("too-many-values", f"the document has more than {MAX_NODES} values", event)
        if depth > MAX_DEPTH:
            self.stop("too-deep", f"values are nested more than {MAX_DEPTH} deep", event)
        if isinstance(event, AliasEvent):
            return self.alias(event)
        mark: Any = event.start_mark
        node = Node("scalar", mark.line + 1, mark.column + 1)
        anchor = event.anchor
        if anchor is not None:
            self.anchors[anchor] = None
        if isinstance(event, ScalarEvent):
            self.scalar(node, event)
            end: Any = event.end_mark
        else:
            self.check_tag(node, event)
            fill = self.mapping if isinstance(event, MappingStartEvent) else self.sequence
            end = fill(node, depth + 1).end_mark
        node.end_line, node.end_column = end.line + 1, end.column + 1
        if anchor is not None:
            self.anchors[anchor] = node
        return node

    def alias(self, event: _Event) -> Node:
        if event.anchor not in self.anchors:
            self.stop("unknown-alias", f"no `&{event.anchor}` before the alias `*{event.anchor}`", event)
        target = self.anchors[event.anchor]
        if target is None:
            self.stop("recursive-alias", f"the alias `*{event.anchor}` contains itself", event)
        self.count += target.size
        if self.count > MAX_NODES:
            self.stop("too-many-values", f"aliases unfold to more than {MAX_NODES} values", event,
                      "write the values out, or move data into an MCP server")  # fmt: skip
        return target

    def check_tag(self, node: Node, event: _Event) -> None:
        if event.tag is not None and event.tag not in _CORE_COLLECTIONS:
            self.report("tag", f"the tag `{event.tag}` may not be used in an SOP", node, "leave the tag out")

    def scalar(self, node: Node, event: _Event) -> None:
        node.text, node.plain = event.value, event.implicit[0]
        if event.tag is not None:
            value = tagged_scalar(event.tag, event.value)
        else:
            value = plain_scalar(event.value) if event.implicit[0] else event.value
        if isinstance(value, Ambiguous):
            self.report("ambiguous-value", f"`{event.value[:60]}` {value.why}", node, value.instead)
            value = event.value
        node.scalar = value

    def sequence(self, node: Node, depth: int) -> _Event:
        node.kind, node.items = "list", []
        while not isinstance(event := self.events.get_event(), SequenceEndEvent):
            item = self.node(event, depth)
            node.items.append(item)
            node.size += item.size
        return event

    def mapping(self, node: Node, depth: int) -> _Event:
        node.kind, node.pairs = "map", {}
        while not isinstance(event := self.events.get_event(), MappingEndEvent):
            key = self.node(event, depth)
            name = self.key(key)
            value = self.node(self.events.get_event(), depth)
            node.size += value.size + 1
            if name in node.pairs:
                first = node.pairs[name][0]
                self.report("duplicate-key", f"the key `{name}` stands here twice, first in line {first.line}",
                            key, "keep one of them")  # fmt: skip
            else:
                node.pairs[name] = (key, value)
        return event

    def key(self, key: Node) -> str:
        if key.kind != "scalar":
            self.report("key-not-text", "a key must be text, not a mapping or a list", key)
            return f"<{key.line}:{key.column}>"
        if key.plain and key.text == "<<":
            self.report("merge-key", "merge keys (`<<`) are not part of the SOP language", key,
                        "write the keys out, or give the whole value an alias")  # fmt: skip
        elif not isinstance(key.scalar, str):
            self.report("key-not-text", f"the key `{key.text[:60]}` is not text", key, f'write "{key.text[:60]}"')
        return key.text


def parse(source: Source) -> tuple[Node | None, list[Problem]]:
    """Return the document's root and the problems of its YAML; no root when it cannot be read.

    Time and memory are bounded by `MAX_NODES`, `MAX_DEPTH` and the length of the text.
    """
    try:
        composer = _Composer(source)
        root = composer.document()
    except _Stop as stop:
        return None, [*composer.problems, stop.problem]
    except yaml.MarkedYAMLError as error:
        return None, [_syntax_problem(source, error)]
    except yaml.reader.ReaderError as error:
        return None, [_character_problem(source, error.position)]
    except UnicodeEncodeError as error:
        return None, [_character_problem(source, error.start)]
    if root is None:
        problem = source.problem("empty-file", "the file is empty", suggestion="`sop new ID` writes a valid SOP")
        return None, [problem]
    if root.kind != "map":
        composer.report("wrong-type", "an SOP is a mapping of keys to values", root, "start with `sop: <id>`")
        return None, composer.problems
    return root, composer.problems


def _syntax_problem(source: Source, error: yaml.MarkedYAMLError) -> Problem:
    mark = error.problem_mark or error.context_mark
    line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
    text = source.lines[line - 1] if line <= len(source.lines) else ""
    if text[column - 1 : column] == "\t" or text[:column].strip(" ") == "\t":
        return source.problem("yaml-syntax", "a tab is used where YAML wants spaces", line, column,
                              "indent with spaces")  # fmt: skip
    message = ": ".join(part for part in (error.context, error.problem) if part)
    suggestion = None
    if "mapping values are not allowed" in message:
        suggestion = "put text that contains `: ` into quotes, and check the indentation"
    elif text[column - 1 : column] in ("@", "`", "%"):
        suggestion = "put text that starts with this character into quotes"
    return source.problem("yaml-syntax", f"this is not YAML: {message}", line, column, suggestion)


def _character_problem(source: Source, position: int) -> Problem:
    before = Source(source.text[:position], source.file).lines
    char = ord(source.text[position]) if position < len(source.text) else 0
    return source.problem("yaml-syntax", f"the character U+{char:04X} is not allowed in YAML", len(before),
                          len(before[-1]) + 1, "remove it, or write it as an escape in double quotes")  # fmt: skip


def to_data(node: Node) -> Any:
    """Return the node as plain data: dict, list, str, int, float, bool, None."""
    if node.pairs is not None:
        return {name: to_data(value) for name, (_, value) in node.pairs.items()}
    if node.items is not None:
        return [to_data(item) for item in node.items]
    return node.scalar


def _step_into(node: Node, part: str | int) -> Node | None:
    if node.pairs is not None and part in node.pairs:
        return node.pairs[str(part)][1]
    if node.items is not None and isinstance(part, int) and part < len(node.items):
        return node.items[part]
    return None


def find_node(root: Node, path: Path) -> Node | None:
    """Return the node at `path`, None if there is none."""
    node: Node | None = root
    for part in path:
        node = _step_into(node, part) if node else None
    return node


def place_of(root: Node, path: Path, *, key: bool = False) -> tuple[int, int]:
    """Return line and column of the value at `path`, or of its key; of what encloses it if it is missing."""
    node, place = root, (root.line, root.column)
    for part in path:
        below = _step_into(node, part)
        if below is None:
            break
        name = node.pairs[str(part)][0] if key and node.pairs is not None else below
        node, place = below, (name.line, name.column)
    return place
