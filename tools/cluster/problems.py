"""What may go wrong with the cluster, as one line for a person."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence

__all__ = ["ClusterProblem", "call"]


class ClusterProblem(Exception):
    """The cluster cannot be brought up; the message is one line and names the remedy."""


def call(command: Sequence[str], *, environment: Mapping[str, str] | None = None, cwd: str | None = None) -> str:
    """Run a command to its end and return what it printed.

    :raises ClusterProblem: it is not there or failed.
    """
    try:
        done = subprocess.run(
            list(command),
            env=environment,
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
    except FileNotFoundError:
        raise ClusterProblem(f"`{command[0]}` is not installed; `make cluster-packages` installs it.") from None
    if done.returncode:
        lines = (done.stderr or done.stdout).strip().splitlines() or ["no output"]
        raise ClusterProblem(f"`{' '.join(command[:4])} ...` failed: {lines[-1]}")
    return done.stdout
