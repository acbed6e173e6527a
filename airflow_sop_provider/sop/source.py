"""A file's text, its lines, and problems that point into it."""

from __future__ import annotations

import bisect
import re
from functools import cached_property

from airflow_sop_provider.sop.problems import Problem

__all__ = ["MAX_BYTES", "Source", "decode"]

MAX_BYTES = 1024 * 1024
"""Largest SOP file that is read, bytes. A real SOP has a few thousand."""

_BREAK = re.compile("\r\n|[\n\r\x85\u2028\u2029]")  # what YAML 1.1, and so libyaml, calls a line break


class Source:
    """The text of one SOP and the name of the file it came from."""

    def __init__(self, text: str, file: str) -> None:
        self.text = text
        self.file = file

    @cached_property
    def lines(self) -> list[str]:
        """The text's lines, as libyaml counts them, without their ends."""
        return _BREAK.split(self.text)

    def problem(
        self, code: str, message: str, line: int = 1, column: int = 1, suggestion: str | None = None
    ) -> Problem:
        """Return a problem at a place, moved into the file should it lie behind its end.

        :param line: line, from 1.
        :param column: column, from 1.
        """
        count = len(self.lines)
        if line > count or (line == count > 1 and not self.lines[-1]):
            line = next((n for n in range(min(line, count), 0, -1) if self.lines[n - 1].strip()), 1)
            column = len(self.lines[line - 1]) + 1
        excerpt = self.lines[line - 1]
        column = max(1, min(column, len(excerpt) + 1))
        return Problem(code, message, self.file, line, column, excerpt, suggestion)

    @cached_property
    def _starts(self) -> list[int]:
        return [0, *(match.end() for match in _BREAK.finditer(self.text))]

    @property
    def line_break(self) -> str:
        """The text's first line break, a line feed if it has none."""
        match = _BREAK.search(self.text)
        return match[0] if match else "\n"

    def offset(self, line: int, column: int) -> int:
        """Return the index in `text` of a place, counted from 1."""
        return min(self._starts[min(line, len(self._starts)) - 1] + column - 1, len(self.text))

    def place(self, offset: int) -> tuple[int, int]:
        """Return line and column, from 1, of an index in `text`."""
        line = bisect.bisect_right(self._starts, offset)
        return line, offset - self._starts[line - 1] + 1

    def find(self, needle: str, start: tuple[int, int], end: tuple[int, int]) -> tuple[int, int] | None:
        """Return line and column of a word between two places (all from 1), None if it is not there."""
        pattern = re.compile(rf"(?<![A-Za-z0-9_]){re.escape(needle)}(?![A-Za-z0-9_])")
        for line in range(start[0], min(end[0], len(self.lines)) + 1):
            first = start[1] - 1 if line == start[0] else 0
            last = end[1] - 1 if line == end[0] else len(self.lines[line - 1])
            match = pattern.search(self.lines[line - 1], first, last)
            if match:
                return line, match.start() + 1
        return None


def decode(content: bytes, file: str) -> Source | Problem:
    """Return the text of a file's bytes, or the one problem that keeps it from being read."""
    if len(content) > MAX_BYTES:
        return Problem(
            "file-too-large",
            f"the file is larger than {MAX_BYTES // 1024} KiB, the limit of an SOP",
            file,
            suggestion="move data into an MCP server or an input; an SOP holds the procedure only",
        )
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        good = content[: error.start].decode("utf-8-sig", "replace")
        before = _BREAK.split(good)
        return Source(content.decode("utf-8-sig", "replace"), file).problem(
            "not-utf-8",
            f"the file is not UTF-8 text: byte 0x{content[error.start]:02x} at offset {error.start}",
            len(before),
            len(before[-1]) + 1,
            "save the file as UTF-8",
        )
    return Source(text, file)
