"""`sop logs`: what a step's attempt wrote, as Airflow keeps it; with --follow, as it is written."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import click

from airflow_sop_provider.cli.connection import engine
from airflow_sop_provider.client import ExecutionCoordinator
from airflow_sop_provider.sop.problems import printable

__all__ = ["POLL_SECONDS", "show_log"]

POLL_SECONDS = 1.0
"""Seconds between two looks while a log is followed."""

_FINAL = frozenset({"COMPLETED", "PARTIALLY_COMPLETED", "FAILED", "CANCELLED"})


@dataclass(frozen=True, kw_only=True)
class _Wanted:
    execution: str
    step: str
    attempt: int | None
    item: int | None


def show_log(
    url: str, execution: str, step: str, *, attempt: int | None, item: int | None, follow: bool, as_json: bool
) -> int:
    """Print the log of a step's attempt.

    :param attempt: its number, None for the latest (with ``follow``: for each that begins, up to the step's end).
    :param item: number of the item, of a step with ``for_each``.
    :raises click.ClickException: there is no such attempt.
    """
    wanted = _Wanted(execution=execution, step=step, attempt=attempt, item=item)
    with engine(url) as client:
        reader = _Reader(client=client, wanted=wanted, as_json=as_json)
        while not reader.look(follow=follow):
            time.sleep(POLL_SECONDS)
    return 0


@dataclass(kw_only=True)
class _Reader:
    """What of a step's log was printed.

    :ivar number: the attempt that is shown, None before the first.
    :ivar ended: whether it was over when last looked at; what it still writes then is printed by one more look.
    """

    client: ExecutionCoordinator
    wanted: _Wanted
    as_json: bool
    number: int | None = None
    printed: int = 0
    ended: bool = False

    def look(self, *, follow: bool) -> bool:
        """Print what is new; return whether that is all."""
        found = self.client.result(self.wanted.execution)
        over = found["execution"]["status"] in _FINAL
        attempts = _of_step(found["attempts"], self.wanted)
        if self.number is None:
            self._begin(self.wanted.attempt or max(attempts, default=0))
        current = attempts.get(self.number or 0)
        if current is None:
            if over or not follow:
                raise click.ClickException(
                    f"{self.wanted.step} of {self.wanted.execution} has no such attempt; see `sop result`"
                )
            self.number = None
            return False
        self._print_new(current)
        if not follow:
            return True
        settled, self.ended = self.ended, current["ended_at"] is not None
        if not (settled and self.ended):
            return False
        later = [number for number in attempts if number > (self.number or 0)]
        if later and self.wanted.attempt is None:
            self._begin(min(later))
            return False
        return over or self.wanted.attempt is not None or current["state"] != "retrying"

    def _begin(self, number: int) -> None:
        self.number, self.printed, self.ended = number, 0, False

    def _print_new(self, current: dict[str, Any]) -> None:
        place = {"attempt": current["attempt"], "map_index": current["map_index"]}
        lines = self.client.log(self.wanted.execution, self.wanted.step, **place)
        own = [line for line in lines if line.get("timestamp") is not None]  # not Airflow's words on where the log is
        if not self.printed:
            click.echo(f"-- {self.wanted.step}, attempt {current['attempt']}, {current['state']}", err=True)
        for line in own[self.printed :]:
            click.echo(json.dumps(line) if self.as_json else _text(line))
        self.printed = max(self.printed, len(own))


def _of_step(attempts: Sequence[dict[str, Any]], wanted: _Wanted) -> dict[int, dict[str, Any]]:
    own = [one for one in attempts if one["step"] == wanted.step]
    items = sorted({one["map_index"] for one in own})
    if wanted.item is None and len(items) > 1:
        raise click.UsageError(f"{wanted.step} has items {items[0]} to {items[-1]}; name one with --item")
    return {one["attempt"]: one for one in own if wanted.item is None or one["map_index"] == wanted.item}


def _text(line: dict[str, Any]) -> str:
    level = str(line.get("level") or "").upper()
    return printable(f"{line['timestamp']}  {level:<7}  {line['event']}".replace("\t", "    "))
