"""Puts the tables of a run into docs/benchmarks.md, so that its figures are always those of one run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.report import Table

__all__ = ["BEGIN", "END", "update_page"]

BEGIN = "<!-- figures: written by `python -m benchmarks --page` -->"
END = "<!-- end of figures -->"


def update_page(page: Path, facts: Mapping[str, str], tables: Sequence[Table]) -> None:
    """Replace what stands between the markers of a page.

    :param facts: command, machine and versions of the run.
    :raises ValueError: the page has no markers.
    """
    text = page.read_text()
    head, begin, rest = text.partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{page} has no place for figures: put the lines {BEGIN!r} and {END!r} into it")
    others = (f"{name}: {value}" for name, value in facts.items() if name != "command")
    made = " · ".join([f"`{facts['command']}`", *others])
    parts = [made, *(table.markdown() for table in tables)]
    page.write_text(head + begin + "\n\n" + "\n\n".join(parts) + "\n\n" + end + tail)
