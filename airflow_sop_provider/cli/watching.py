"""`sop watch` and `sop submit --follow`: bars on a terminal, a line for each change in a pipe, JSON lines for scripts.

Each execution is followed by a thread of its own, all of them by one client; the main thread alone writes.
"""

from __future__ import annotations

import json
import queue
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import click

from airflow_sop_provider.cli.connection import EXIT_NOT_COMPLETED, EXIT_TIMEOUT, engine
from airflow_sop_provider.cli.tables import seconds_in_words, status_text
from airflow_sop_provider.client import ExecutionCoordinator, ExecutionStatus

__all__ = ["AT_ONCE", "follow_to_end", "status_as_dict", "watch"]

AT_ONCE = 50
"""So many executions are watched at once: each is a connection that stays open."""

_CURRENT = 3

Show = Callable[[ExecutionStatus], None]


def watch(url: str, executions: Sequence[str], *, timeout: float | None, as_json: bool) -> int:
    """Watch executions to their end.

    :param timeout: seconds; None for as long as it takes.
    :returns: 0 if all completed, 1 if one did not, 124 if one is not over in time.
    :raises click.UsageError: too many at once.
    """
    if len(executions) > AT_ONCE:
        raise click.UsageError(f"at most {AT_ONCE} executions can be watched at once; `sop list` shows more")
    with engine(url) as client:
        return follow_to_end(client, executions, timeout=timeout, as_json=as_json)


def follow_to_end(
    client: ExecutionCoordinator, executions: Sequence[str], *, timeout: float | None = None, as_json: bool = False
) -> int:
    """Show where executions stand until all are over; return the exit code as `watch` does.

    :raises EngineError: one cannot be followed.
    """
    names = list(dict.fromkeys(executions))
    news: queue.Queue[tuple[str, ExecutionStatus | Exception]] = queue.Queue()
    for name in names:
        threading.Thread(target=_follow, args=(client, name, news), daemon=True).start()
    deadline = None if timeout is None else time.monotonic() + timeout
    ends: dict[str, str] = {}
    with _shown(names, as_json=as_json) as show:
        while len(ends) < len(names):
            try:
                name, now = news.get(timeout=None if deadline is None else max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                click.echo(f"{len(names) - len(ends)} not over in {timeout:g} s; they go on", err=True)
                return EXIT_TIMEOUT
            if isinstance(now, Exception):
                raise now
            show(now)
            if now.is_final:
                ends[name] = now.status
    return 0 if all(status == "COMPLETED" for status in ends.values()) else EXIT_NOT_COMPLETED


def status_as_dict(now: ExecutionStatus) -> dict[str, Any]:
    """Return where an execution stands as JSON values."""
    return {**vars(now), "current_steps": list(now.current_steps), "steps": dict(now.steps)}


def _follow(
    client: ExecutionCoordinator, name: str, news: queue.Queue[tuple[str, ExecutionStatus | Exception]]
) -> None:
    try:
        for now in client.follow(name):
            news.put((name, now))
    except Exception as error:  # the main thread raises it
        news.put((name, error))


@contextmanager
def _shown(names: Sequence[str], *, as_json: bool) -> Iterator[Show]:
    if as_json:
        yield lambda now: click.echo(json.dumps(status_as_dict(now)))
    elif sys.stdout.isatty():
        with _bars(names) as show:
            yield show
    else:
        yield lambda now: click.echo(_line(now))


def _line(now: ExecutionStatus) -> str:
    elapsed = seconds_in_words(now.elapsed_seconds) or "not begun"
    return f"{now.execution}  {now.status}  {now.progress:.0%}  {elapsed}  {_current(now)}".rstrip()


def _current(now: ExecutionStatus) -> str:
    rest = len(now.current_steps) - _CURRENT
    return ", ".join(now.current_steps[:_CURRENT]) + (f" and {rest} more" if rest > 0 else "")


@contextmanager
def _bars(names: Sequence[str]) -> Iterator[Show]:
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

    with Progress(
        TextColumn("{task.description}", markup=False),
        TextColumn("{task.fields[status]}"),
        BarColumn(bar_width=24),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[current]}", markup=False),
    ) as bars:
        tasks = {name: bars.add_task(name, total=1.0, status="...", current="") for name in names}

        def show(now: ExecutionStatus) -> None:
            style = str(status_text(now.status).style) or "default"
            bars.update(
                tasks[now.execution],
                completed=now.progress,
                status=f"[{style}]{now.status}[/]",
                current="longer than expected" if now.flagged and not now.is_final else _current(now),
            )
            if now.is_final:
                bars.stop_task(tasks[now.execution])

        yield show
