"""Installs the Debian packages that tests use, where they are missing and we may.

PostgreSQL for the tests with two schedulers, Graphviz for pictures of a graph, tmux to see a
terminal as a person does. Standard library only: it runs before the environment exists.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

__all__ = ["PACKAGES", "missing_packages"]

PACKAGES: dict[str, str] = {"postgresql": "initdb", "graphviz": "dot", "tmux": "tmux"}
"""Package -> program by which its presence is seen."""


def missing_packages(exists: Callable[[str], bool] | None = None) -> list[str]:
    """Return the packages whose program is not there."""
    exists = exists or _exists
    return [package for package, program in PACKAGES.items() if not exists(program)]


def _exists(program: str) -> bool:
    if shutil.which(program):
        return True
    return any(Path("/usr/lib/postgresql").glob(f"*/bin/{program}"))  # Debian keeps the server's programs off PATH


def _install(packages: Iterable[str]) -> int:
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for command in (["apt-get", "update", "-q"], ["apt-get", "install", "-q", "-y", *packages]):
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        if done.returncode:
            tail = (done.stderr.strip().splitlines() or ["no output"])[-1]
            print(f"sop: `{' '.join(command)}` failed: {tail}", file=sys.stderr)
            return 1
    return 0


def main() -> int:
    """Install what is missing; return the exit code."""
    missing = missing_packages()
    if not missing:
        return 0
    names = " ".join(missing)
    if not shutil.which("apt-get") or os.geteuid() != 0:
        print(f"sop: the tests need {names}: install it (Debian: sudo apt-get install {names}).", file=sys.stderr)
        return 1
    print(f"Installing {names} ...", flush=True)
    return _install(missing)


if __name__ == "__main__":
    raise SystemExit(main())
