"""What is wrong with an SOP file, and how a person is told.

A file's problems are values, collected first and reported together, because a person who mends a
file wants to see everything at once. `SopError` carries them through code that wants an exception;
its text is the rendered message, so that Airflow's import error page shows it as it is.
"""

from __future__ import annotations

import difflib
import unicodedata
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from airflow_sop_provider.sop.usual_help import USUAL_HELP

__all__ = ["MAX_PROBLEMS", "Problem", "SopError", "nearest", "printable"]

MAX_PROBLEMS = 100
"""Most problems each stage of checking reports of one file; who has more has something else in mind."""

_EXCERPT_WIDTH = 120
_CANDIDATES = 1000  # a likeness costs tens of microseconds
_RED, _BOLD, _BLUE, _RESET = "\x1b[31m", "\x1b[1m", "\x1b[34m", "\x1b[0m"


@dataclass(frozen=True, slots=True)
class Problem:
    """One problem at one place of a file.

    :param code: short stable identifier, for example ``unknown-key``.
    :param message: what is wrong, one sentence.
    :param file: path of the file as the caller named it.
    :param line: line, from 1.
    :param column: column in characters, from 1.
    :param excerpt: the text of that line.
    :param suggestion: what to do about it; default: what usually helps (`usual_help`), None if nothing is known.
    """

    code: str
    message: str
    file: str
    line: int = 1
    column: int = 1
    excerpt: str = ""
    suggestion: str | None = None

    def __post_init__(self) -> None:
        if self.suggestion is None:
            object.__setattr__(self, "suggestion", USUAL_HELP.get(self.code))

    def render(self, colour: bool = False) -> str:
        """Return the problem as lines of text: place and message, excerpt with a caret, suggestion."""
        red, bold, blue, reset = (_RED, _BOLD, _BLUE, _RESET) if colour else ("", "", "", "")
        place = f"{printable(self.file)}:{self.line}:{self.column}"
        lines = [f"{bold}{place}: {red}error[{self.code}]{reset}{bold}: {printable(self.message)}{reset}"]
        if self.excerpt.strip():
            text, pad = _window(self.excerpt, self.column)
            number = str(self.line)
            lines.append(f"  {blue}{number} |{reset} {text}")
            lines.append(f"  {blue}{' ' * len(number)} |{reset} {' ' * pad}{red}^{reset}")
        if self.suggestion:
            lines.append(f"  {blue}help:{reset} {printable(self.suggestion)}")
        return "\n".join(lines)

    def as_dict(self) -> dict[str, Any]:
        """Return the problem as a JSON object."""
        return asdict(self)


class SopError(ValueError):
    """An SOP file is not valid.

    :param problems: every problem found, in the order of the file; never empty.
    """

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems: tuple[Problem, ...] = tuple(problems)
        super().__init__(self.problems)

    def __str__(self) -> str:
        """Return the rendered message of all problems."""
        count = len(self.problems)
        total = f"{count} problem{'' if count == 1 else 's'} found"
        return "\n\n".join([*(problem.render() for problem in self.problems), total])

    def __reduce__(self) -> tuple[type[SopError], tuple[tuple[Problem, ...]]]:
        """Pickle by the problems, as errors cross process borders."""
        return (type(self), (self.problems,))


def nearest(word: str, candidates: Iterable[str]) -> str | None:
    """Return the candidate most like `word`, None if none is like it; among many only some are looked at."""
    known = sorted({name for name in candidates if abs(len(name) - len(word)) <= 2 + len(word) // 2})
    folded = {name.lower().replace("-", "_"): name for name in known[:_CANDIDATES]}
    match = difflib.get_close_matches(word.lower().replace("-", "_")[:100], folded, n=1, cutoff=0.6)
    return folded[match[0]] if match else None


def printable(text: str) -> str:
    """Return `text` with what could drive a terminal replaced: a file's content is not ours."""
    return "".join(char if char.isprintable() or char == "\n" else "\N{REPLACEMENT CHARACTER}" for char in text)


def _window(line: str, column: int) -> tuple[str, int]:
    """Return the part of `line` around `column` and the width of the text left of the caret."""
    flat = printable(line.replace("\t", " "))
    start = max(0, column - 1 - _EXCERPT_WIDTH // 2) if len(flat) > _EXCERPT_WIDTH else 0
    text = flat[start : start + _EXCERPT_WIDTH].rstrip()
    prefix = "…" if start else ""
    left = flat[start : max(start, column - 1)]
    return prefix + text, len(prefix) + sum(_width(char) for char in left)


def _width(char: str) -> int:
    if unicodedata.combining(char):
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1
