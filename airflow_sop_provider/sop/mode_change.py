"""Change the mode in an SOP's text and leave every other character as it is.

The text is cut at the place of the value rather than dumped from data: comments, quotes, order
and line ends stay exactly what the author wrote. The result is checked again before it is given.
"""

from __future__ import annotations

from dataclasses import dataclass

from airflow_sop_provider.sop.loader import check_text
from airflow_sop_provider.sop.models import Mode
from airflow_sop_provider.sop.problems import Problem, SopError
from airflow_sop_provider.sop.source import Source
from airflow_sop_provider.sop.yaml_nodes import Node, parse, place_of, to_data

__all__ = ["set_mode"]

_HEAD = frozenset({"apiVersion", "sop", "version", "title", "control", "control_type", "owner"})
"""Keys after the last of which `mode` is put, if it is not there yet."""


@dataclass(frozen=True, slots=True)
class _Edit:
    """Replace the characters from `start` to `end` by `text`."""

    start: int
    end: int
    text: str

    def apply(self, text: str) -> str:
        return text[: self.start] + self.text + text[self.end :]

    def before(self, offset: int) -> int:
        """Return where a character of the changed text was before."""
        if offset < self.start + len(self.text):
            return min(offset, self.start)
        return offset - len(self.text) + self.end - self.start


def set_mode(text: str, mode: Mode, file: str = "<text>") -> str:
    """Return an SOP's text with `mode` in it.

    :param file: name to show in problems.
    :raises SopError: the SOP has problems, or the mode is incompatible with it; each reason is a problem
        at its place in `text`.
    """
    source = Source(text, file)
    root, problems = parse(source)
    if root is None or root.pairs is None:
        raise SopError(problems)
    if _is_alias(root):
        raise _not_changeable(source, root)
    edit = _edit(source, root, mode)
    changed = Source(edit.apply(text), file)
    result = check_text(changed.text, file)
    if result.loaded is None:
        raise SopError(_moved(problem, edit, source, changed) for problem in result.problems)
    if not _same_but_mode(root, changed):
        raise _not_changeable(source, root)
    return changed.text


def _is_alias(root: Node) -> bool:
    """Return whether the mode's value stands elsewhere, before its key."""
    assert root.pairs is not None
    if "mode" not in root.pairs:
        return False
    key, value = root.pairs["mode"]
    return (value.line, value.column) < (key.line, key.column)


def _not_changeable(source: Source, root: Node) -> SopError:
    line, column = place_of(root, ("mode",), key=True)
    message = "the mode cannot be changed without changing something else"
    problem = source.problem("mode-change", message, line, column, "write the mode as a plain word, without an alias")
    return SopError([problem])


def _edit(source: Source, root: Node, mode: Mode) -> _Edit:
    assert root.pairs is not None
    if "mode" in root.pairs:
        value = root.pairs["mode"][1]
        start = source.offset(value.line, value.column)
        end = source.offset(value.end_line, value.end_column)
        old = source.text[start:end]
        return _Edit(start, end, f"{mode}\n" if old.endswith("\n") else mode if old else f" {mode}")
    start = source.offset(root.line, root.column)
    if source.text[start : start + 1] == "{":
        return _Edit(start + 1, start + 1, f"mode: {mode}, ")
    line = max((value.line for name, (_, value) in root.pairs.items()
                if name in _HEAD and value.line == value.end_line), default=0)  # fmt: skip
    indent = " " * (root.column - 1)
    if not line:
        return _Edit(start, start, f"mode: {mode}\n{indent}")
    end = source.offset(line, len(source.lines[line - 1]) + 1)
    return _Edit(end, end, f"{source.line_break}{indent}mode: {mode}")


def _same_but_mode(root: Node, changed: Source) -> bool:
    other, _ = parse(changed)
    if other is None:
        return False
    old, new = to_data(root), to_data(other)
    return bool({**old, "mode": None} == {**new, "mode": None})


def _moved(problem: Problem, edit: _Edit, source: Source, changed: Source) -> Problem:
    """Return a problem of the changed text with its place in the text as it was."""
    offset = edit.before(changed.offset(problem.line, problem.column))
    line, column = source.place(offset)
    return source.problem(problem.code, problem.message, line, column, problem.suggestion)
