"""Puts the tables of a run into docs/benchmarks.md, so that its figures are always those of one run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.report import Table

__all__ = ["BEGIN", "END", "MARKERS", "update_page"]

BEGIN = "<!-- figures: written by `python -m benchmarks --page` -->"
END = "<!-- end of figures -->"
MARKERS = {
    "": (BEGIN, END),
    "kubernetes": (
        "<!-- figures of Kubernetes: written by `make bench-kubernetes ARGS=--page` -->",
        "<!-- end of figures of Kubernetes -->",
    ),
    "engine": (
        "<!-- figures of the engine: written by `make bench-engine ARGS=--page` -->",
        "<!-- end of figures of the engine -->",
    ),
    "fleet": (
        "<!-- figures of the fleet: written by `make bench-fleet ARGS=--page` -->",
        "<!-- end of figures of the fleet -->",
    ),
}
"""Part of a page -> the lines between which its figures stand; each part is another run's."""


def update_page(page: Path, facts: Mapping[str, str], tables: Sequence[Table], *, part: str = "") -> None:
    """Replace what stands between the markers of a page.

    :param facts: command, machine and versions of the run.
    :param part: of `MARKERS`.
    :raises ValueError: the page has no markers.
    """
    opening, closing = MARKERS[part]
    text = page.read_text()
    head, begin, rest = text.partition(opening)
    _, end, tail = rest.partition(closing)
    if not begin or not end:
        raise ValueError(f"{page} has no place for figures: put the lines {opening!r} and {closing!r} into it")
    others = (f"{name}: {value}" for name, value in facts.items() if name != "command")
    made = " · ".join([f"`{facts['command']}`", *others])
    parts = [made, *(table.markdown() for table in tables)]
    page.write_text(head + begin + "\n\n" + "\n\n".join(parts) + "\n\n" + end + tail)
