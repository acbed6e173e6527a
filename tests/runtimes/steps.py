"""Steps that run a program, for every runtime whose steps run in the runner's image."""

from __future__ import annotations

import re
from typing import Any

__all__ = ["BURN", "python", "shell", "was_throttled"]


def shell(script: str) -> dict[str, Any]:
    """A step that runs a shell script."""
    return {"command": {"command": ["sh", "-c"], "args": [script]}}


def python(script: str) -> dict[str, Any]:
    """A step that runs a Python program."""
    return {"command": {"command": ["python", "-c"], "args": [script]}}


BURN = python(
    "import pathlib, time\n"
    "end = time.process_time() + 1\n"
    "while time.process_time() < end: pass\n"
    "groups = pathlib.Path('/sys/fs/cgroup')\n"
    "files = [*groups.glob('cpu*/cpu.stat'), *groups.glob('cpu.stat')]\n"
    "lines = [line.split() for file in files for line in file.read_text().splitlines()]\n"
    "print('throttled', max(int(value) for name, value in lines if name == 'nr_throttled'))\n"
)
"""Uses a core for a second and says how often the kernel has throttled its container meanwhile."""


def was_throttled(output: str) -> bool:
    """Return whether `BURN` was throttled; its program stands in the output, too, without a number."""
    return any(int(count) > 0 for count in re.findall(r"throttled (\d+)", output))
