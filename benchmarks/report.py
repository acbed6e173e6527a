"""What a benchmark returns: tables of names and numbers, printed for people, kept for programs."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table as RichTable

__all__ = ["Cell", "Table", "p50", "p95", "p99", "ratio"]

Cell = str | float | int | None


@dataclass(frozen=True)
class Table:
    """One table.

    :param name: of the benchmark, as on the command line.
    :param columns: their headings, units included.
    :param rows: a text first, then numbers; None where there is nothing to say.
    :param notes: sentences on how it was measured, in the order in which a reader asks.
    """

    name: str
    title: str
    columns: tuple[str, ...]
    rows: Sequence[tuple[Cell, ...]]
    notes: Sequence[str] = field(default_factory=tuple)

    def __post_init__(self) -> None:
        for row in self.rows:
            if len(row) != len(self.columns):
                raise ValueError(f"table {self.name}: row {row} has not the {len(self.columns)} cells of its columns")

    def show(self, console: Console) -> None:
        """Print it."""
        table = RichTable(title=self.title, box=box.SIMPLE_HEAD, title_justify="left", title_style="bold")
        for position, column in enumerate(self.columns):
            table.add_column(column, justify="right" if position else "left", overflow="fold")
        for row in self.rows:
            table.add_row(*(shown(cell) for cell in row))
        console.print(table)
        for note in self.notes:
            console.print(f"  {note}", markup=False, style="dim")

    def markdown(self) -> str:
        """Return it for a page."""
        lines = [
            f"### {self.title}",
            "",
            f"| {' | '.join(self.columns)} |",
            f"|{'|'.join(['---', *('---:' for _ in self.columns[1:])])}|",
            *(f"| {' | '.join(shown(cell) for cell in row)} |" for row in self.rows),
        ]
        return "\n".join([*lines, *(["", *(f"- {note}" for note in self.notes)] if self.notes else [])])

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON values, the numbers as they were measured."""
        rows = [dict(zip(self.columns, row, strict=True)) for row in self.rows]
        return {"name": self.name, "title": self.title, "rows": rows, "notes": list(self.notes)}


def shown(cell: Cell) -> str:
    """Return a cell as text, numbers with about three digits that mean something."""
    if cell is None:
        return ""
    if isinstance(cell, str):
        return cell
    size = abs(cell)
    if isinstance(cell, int) or size >= 100:
        return f"{cell:,.0f}"
    if size >= 10:
        return f"{cell:.1f}"
    return f"{cell:.2f}" if size >= 1 else f"{cell:.3g}"


def p50(values: Sequence[float]) -> float | None:
    """Return the median, None of nothing."""
    return statistics.median(values) if values else None


def p95(values: Sequence[float]) -> float | None:
    """Return the 95th percentile (interpolated, extremes included), None of nothing."""
    if len(values) < 2:
        return values[0] if values else None
    return statistics.quantiles(values, n=20, method="inclusive")[18]


def p99(values: Sequence[float]) -> float | None:
    """Return the 99th percentile (interpolated, extremes included), None of nothing."""
    if len(values) < 2:
        return values[0] if values else None
    return statistics.quantiles(values, n=100, method="inclusive")[98]


def ratio(value: float | None, base: float | None) -> float | None:
    """Return how many times ``base`` a value is, None where that cannot be said."""
    return None if value is None or not base else value / base
