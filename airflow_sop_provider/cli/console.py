"""What the commands share: reading an SOP or leaving with its errors, colour, and the summary's words."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import IO

import click

from airflow_sop_provider.sop import LoadedSop, SopError, load_sop

__all__ = ["SopFileError", "plural", "read_sop", "wants_colour"]


class SopFileError(click.ClickException):
    """The errors of an SOP file, shown exactly as the language renders them."""

    exit_code = 1

    def __init__(self, error: SopError) -> None:
        super().__init__(str(error))
        self.error = error

    def show(self, file: IO[str] | None = None) -> None:
        """Print every problem to stderr, in colour on a terminal."""
        colour = wants_colour(sys.stderr)
        text = "\n\n".join(problem.render(colour=colour) for problem in self.error.problems)
        click.echo(text, file=file or sys.stderr, color=colour)


def read_sop(path: Path) -> LoadedSop:
    """Load a valid SOP.

    :raises SopFileError: with all its problems, when it is not valid.
    """
    try:
        return load_sop(path)
    except SopError as error:
        raise SopFileError(error) from error


def wants_colour(stream: IO[str]) -> bool:
    """Whether to colour: on a terminal that can, unless `NO_COLOR` is set (https://no-color.org)."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def plural(count: int, noun: str) -> str:
    """`1 file`, `2 files`, `1,000 files`."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"
