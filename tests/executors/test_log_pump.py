"""An attempt's output reaches its log file soon, and an attempt that says nothing costs nothing."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from airflow_sop_provider.executors import log_pump
from airflow_sop_provider.executors.attempt_log import AttemptLog
from airflow_sop_provider.executors.log_pump import pump
from airflow_sop_provider.executors.watch import _pause
from airflow_sop_provider.runtimes import Handle
from tests.runtimes.helpers import until

HANDLE = Handle(name="a", uid="u", state="running", adopted=False)


class Output:
    """Stands for a runtime: an output that says what the test lets it say, and then nothing for a long time."""

    def __init__(self, *lines: str) -> None:
        self.lines, self.over = lines, asyncio.Event()

    async def logs(self, handle: Handle, offset: int = 0) -> AsyncIterator[tuple[int, str]]:
        for number, line in enumerate(self.lines, start=1):
            yield number, line
        await self.over.wait()


class Counting(AttemptLog):
    flushes = 0

    def flush(self) -> None:
        self.flushes += 1
        super().flush()


@pytest.fixture(autouse=True)
def _fast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_pump, "_FLUSH_SECONDS", 0.01)


async def test_lines_are_written_while_the_output_goes_on_and_silence_writes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "attempt.log"
    output: Any = Output("one", "two")
    log_file = Counting(path)
    pumping = asyncio.create_task(pump(output, HANDLE, log_file))
    await until(lambda: path.exists() and path.read_text().count("\n") == 2)
    before = log_file.flushes
    await asyncio.sleep(0.2)  # twenty times as long as a line waits
    assert log_file.flushes == before
    output.over.set()
    await pumping
    assert path.read_text().count("\n") == 2


async def test_what_came_last_is_written_at_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_pump, "_FLUSH_SECONDS", 600.0)
    path = tmp_path / "attempt.log"
    output: Any = Output("one")
    output.over.set()
    await pump(output, HANDLE, AttemptLog(path))
    assert "one" in path.read_text()


async def test_a_pump_that_is_ended_leaves_no_task(tmp_path: Path) -> None:
    output: Any = Output("one")
    pumping = asyncio.create_task(pump(output, HANDLE, AttemptLog(tmp_path / "attempt.log")))
    await asyncio.sleep(0)
    pumping.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await pumping
    await asyncio.sleep(0)
    assert asyncio.all_tasks() == {asyncio.current_task()}


@pytest.mark.parametrize(
    ("seconds", "took", "pause"), [(0.2, 0.001, 0.2), (0.2, 0.08, 0.72), (0.2, 5.0, 1.0), (30.0, 5.0, 30.0)]
)
def test_a_look_that_takes_long_is_taken_less_often(seconds: float, took: float, pause: float) -> None:
    assert _pause(seconds, took) == pytest.approx(pause)
