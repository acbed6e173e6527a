"""Finds the one line of a log that says what went wrong.

A person who reads "the scheduler ended" wants the reason, not a trace of forty lines: the last
line that looks like an error, else the last line at all.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

__all__ = ["telling_line"]

_TAIL_BYTES = 64 * 1024
_LINE_LIMIT = 300
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_TRACE = re.compile(r"^\s*(File \"|Traceback |at |\^|~|[╭│╰╷┌└])")
_ERROR = re.compile(
    r"(\b\w*(Error|Exception)\b\s*:|\b(error|critical|fatal|failed|address already in use)\b)", re.IGNORECASE
)
_PYTHON_ERROR = re.compile(r"^[\w.]+(Error|Exception|Exit)\b(:|$)")


def telling_line(log: Path) -> str:
    """Return the line of ``log`` that tells most about its end; a sentence when there is none."""
    lines = [line for line in _tail(log) if line.strip() and not _TRACE.match(line)]
    for pattern in (_PYTHON_ERROR, _ERROR):
        found = [line for line in lines if pattern.search(line)]
        if found:
            return _shorten(found[-1])
    return _shorten(lines[-1]) if lines else "it wrote nothing"


def _tail(log: Path) -> list[str]:
    try:
        with log.open("rb") as stream:
            stream.seek(0, os.SEEK_END)
            stream.seek(max(0, stream.tell() - _TAIL_BYTES))
            text = stream.read().decode(errors="replace")
    except OSError:
        return []
    return _COLOUR.sub("", text).splitlines()


def _shorten(line: str) -> str:
    line = line.strip()
    return line if len(line) <= _LINE_LIMIT else line[: _LINE_LIMIT - 1] + "…"
