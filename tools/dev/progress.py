"""Shows an execution while it runs: a live table in a terminal, a line per change elsewhere.

A ``for_each`` of hundreds of items is one row with a count, so the table stays as long as the SOP.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from types import TracebackType

import yaml
from rich.console import Console
from rich.live import Live
from rich.markup import escape
from rich.table import Table

from tools.dev.rest import StepState

__all__ = ["LineProgress", "LiveProgress", "Row", "duration", "result_text", "rows"]

_COLOURS = {
    "success": "green",
    "running": "cyan",
    "failed": "red",
    "upstream_failed": "red",
    "skipped": "dim",
    "up_for_retry": "yellow",
}
_UNFINISHED = ("running", "up_for_retry", "queued", "scheduled", "waiting")
_FAILED = ("failed", "upstream_failed")
_RESULT_LINES = 60


@dataclass(frozen=True)
class Row:
    """One step of the table.

    :param state: the state that describes the step best; a mapped step is running until all its items are over.
    :param count: for a mapped step "how many of its items are over", else empty.
    :param attempt: highest try number.
    :param elapsed: seconds from the first start to the last end, None before the first start.
    """

    step: str
    state: str
    count: str
    attempt: int
    elapsed: float | None


def rows(order: Sequence[str], steps: Iterable[StepState], *, now: datetime | None = None) -> list[Row]:
    """Return a row for each step in ``order``."""
    by_step: dict[str, list[StepState]] = {step: [] for step in order}
    for step in steps:
        by_step.setdefault(step.step, []).append(step)
    moment = now or datetime.now(UTC)
    return [_row(step, found, moment) for step, found in by_step.items() if found]


def _row(step: str, found: list[StepState], now: datetime) -> Row:
    states = Counter(item.state for item in found)
    unfinished = [state for state in _UNFINISHED if states[state]]
    failed = [state for state in _FAILED if states[state]]
    over = sum(number for state, number in states.items() if state not in _UNFINISHED)
    started = [item.started for item in found if item.started]
    last = now if unfinished else max((item.ended for item in found if item.ended), default=now)
    mapped = found[0].map_index >= 0
    state = _state_of(states, unfinished, failed, over)
    elapsed = max(0.0, (last - min(started)).total_seconds()) if started else None
    return Row(step, state, f"{over} of {len(found)}" if mapped else "", max(item.attempt for item in found), elapsed)


def _state_of(states: Counter[str], unfinished: list[str], failed: list[str], over: int) -> str:
    if unfinished:
        return "running" if over else unfinished[0]
    if failed:
        return failed[0]
    return "success" if states["success"] else states.most_common(1)[0][0]


def duration(seconds: float | None) -> str:
    """Return seconds as a person reads them: ``3.2 s``, ``2:05``; a dash for None."""
    if seconds is None:
        return "-"
    return f"{seconds:.1f} s" if seconds < 60 else f"{int(seconds // 60)}:{int(seconds % 60):02d}"


class LiveProgress:
    """A table that is redrawn in place; for terminals."""

    def __init__(self, console: Console) -> None:
        self._live = Live(console=console, refresh_per_second=4, transient=False)

    def __enter__(self) -> LiveProgress:
        self._live.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.__exit__(kind, error, trace)

    def show(self, found: Sequence[Row]) -> None:
        """Draw the rows."""
        table = Table(box=None, pad_edge=False, header_style="dim")
        for name in ("step", "state", "attempt", "elapsed"):
            table.add_column(name, justify="right" if name in {"attempt", "elapsed"} else "left")
        for row in found:
            colour = _COLOURS.get(row.state, "default")
            state = f"[{colour}]{escape(row.state)}[/{colour}]" + (f" [dim]{row.count}[/dim]" if row.count else "")
            table.add_row(escape(row.step), state, str(row.attempt), duration(row.elapsed))
        self._live.update(table)


class LineProgress:
    """A line for each change; for pipes and files."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._shown: dict[str, tuple[str, int]] = {}

    def __enter__(self) -> LineProgress:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def show(self, found: Sequence[Row]) -> None:
        """Print the rows whose state or attempt changed."""
        for row in found:
            if row.state != "waiting" and self._shown.get(row.step) != (row.state, row.attempt):
                self._shown[row.step] = (row.state, row.attempt)
                count = f" ({row.count})" if row.count else ""
                self._console.print(
                    f"{row.step}: {row.state}{count}, attempt {row.attempt}, {duration(row.elapsed)}",
                    markup=False,
                    highlight=False,
                )


def result_text(value: object) -> tuple[str, int]:
    """Return outputs as text a person reads, and how many lines were left out."""
    text = value if isinstance(value, str) else yaml.safe_dump(value, sort_keys=False, allow_unicode=True, width=110)
    lines = text.rstrip().splitlines()
    return "\n".join(lines[:_RESULT_LINES]), max(0, len(lines) - _RESULT_LINES)
