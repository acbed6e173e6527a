"""What the tests of this room share: programs to run, and a wait without a clock."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

from airflow_sop_provider.runtimes import AttemptSpec, Handle, LocalRuntime


def program(source: str, *arguments: str, name: str = "attempt", **more: Any) -> AttemptSpec:
    argv = (sys.executable, "-I", "-S", "-c", textwrap.dedent(source), *arguments)
    return AttemptSpec(name=name, argv=argv, **more)


async def lines(runtime: LocalRuntime, handle: Handle, offset: int = 0) -> list[str]:
    return [line async for _, line in runtime.logs(handle, offset)]


async def until(condition: Callable[[], object]) -> None:
    """Wait for a fact; the test's own time limit ends a wait in vain."""
    while not condition():  # noqa: ASYNC110 - what other processes do sets no event
        await asyncio.sleep(0.02)


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def pid_in(path: Path) -> int:
    return int(path.read_text() or 0) if path.exists() else 0


def descriptors() -> dict[str, str]:
    """Return what each open descriptor of this process is."""
    found = {}
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(FileNotFoundError):  # the one the listing itself needed
            found[name] = os.readlink(f"/proc/self/fd/{name}")
    return found


def open_descriptors() -> int:
    return len(descriptors())
