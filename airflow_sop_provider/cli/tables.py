"""Tables, and words for figures, that a person likes to read and `grep` and `awk` can use.

On a terminal a table fits its width and statuses have colours; into a pipe or file each row is one line, however long,
and nothing is coloured. What comes from outside is shown without what could drive a terminal.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from airflow_sop_provider.sop.problems import printable

__all__ = ["bytes_in_words", "moment", "print_table", "seconds_in_words", "status_text"]

_WIDE = 100_000
_STYLES = {
    "COMPLETED": "green", "PARTIALLY_COMPLETED": "yellow", "FAILED": "red", "CANCELLED": "magenta",
    "RUNNING": "cyan", "error": "red", "warning": "yellow",
}  # fmt: skip


def print_table(columns: Sequence[str], rows: Iterable[Sequence[Any]], *, title: str | None = None) -> None:
    """Print a table to stdout.

    :param columns: headings; one that begins with ``>`` is that of a column of numbers.
    :param rows: None is shown as ``-``; words such as FAILED and ``error`` have their colour.
    """
    from rich.console import Console
    from rich.table import Table

    console = Console(file=sys.stdout, highlight=False, markup=False)
    if not console.is_terminal:
        console = Console(file=sys.stdout, highlight=False, markup=False, width=_WIDE, no_color=True)
    table = Table(box=None, pad_edge=False, title=title, title_justify="left", title_style="bold", header_style="bold")
    for name in columns:
        table.add_column(name.lstrip(">"), justify="right" if name.startswith(">") else "left", overflow="fold")
    for row in rows:
        table.add_row(*(status_text(value) for value in row))
    console.print(table)


def status_text(value: Any) -> Any:
    """Return a value as text of a table, in the colour of its status."""
    from rich.text import Text

    text = "-" if value is None else printable(str(value).replace("\n", " "))
    return Text(text, style=_STYLES.get(text, ""))


def moment(text: str | None) -> str | None:
    """Return a moment of the API (ISO 8601) to the second, in UTC as it came."""
    return None if text is None else datetime.fromisoformat(text).strftime("%Y-%m-%d %H:%M:%S")


def seconds_in_words(seconds: float | None) -> str | None:
    """`0.8 s`, `42.0 s`, `12 min 03 s`, `3 h 20 min`."""
    if seconds is None:
        return None
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02} min"


def bytes_in_words(count: int | None) -> str | None:
    """`512 B`, `1.5 MiB`."""
    if count is None:
        return None
    size, unit = float(count), "B"
    for larger in ("KiB", "MiB", "GiB", "TiB"):
        if size < 1024:
            break
        size, unit = size / 1024, larger
    return f"{count} B" if unit == "B" else f"{size:.1f} {unit}"
