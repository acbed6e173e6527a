"""Starts the cluster's components in the background and ends exactly those again.

A component outlives the command that started it. Its process is remembered by pid and start time, so
that a stranger who got the same pid later is never taken for it.
"""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import psutil

from tools.cluster.layout import Layout
from tools.cluster.problems import ClusterProblem

__all__ = ["Daemons", "wait_until"]


class Daemons:
    """The components of one cluster.

    :param layout: where their logs and process ids are.
    """

    def __init__(self, layout: Layout) -> None:
        self._layout = layout

    def start(self, name: str, command: Sequence[str], *, environment: Mapping[str, str] | None = None) -> None:
        """Start a component unless it runs already."""
        if self.process(name) is not None:
            return
        with self._layout.log(name).open("ab") as output:
            started = subprocess.Popen(
                list(command),
                env=None if environment is None else dict(environment),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        identity = {"pid": started.pid, "created": psutil.Process(started.pid).create_time()}
        self._file(name).write_text(json.dumps(identity))

    def process(self, name: str) -> psutil.Process | None:
        """Return a component's process, None if it does not run."""
        try:
            identity = json.loads(self._file(name).read_text())
            process = psutil.Process(identity["pid"])
            same = abs(process.create_time() - identity["created"]) < 0.5 and not _has_ended(process)
        except (OSError, ValueError, KeyError, psutil.Error):
            return None
        return process if same else None

    def stop(self, name: str, *, grace: float = 15.0) -> None:
        """End a component; kill it after ``grace`` seconds."""
        process = self.process(name)
        if process is not None:
            process.terminate()
            try:
                process.wait(grace)
            except psutil.TimeoutExpired:
                process.kill()
                process.wait(grace)
        self._file(name).unlink(missing_ok=True)

    def check(self, *names: str) -> None:
        """Raise `ClusterProblem` with the log's last words if one of these components has ended."""
        for name in (name for name in names if self.process(name) is None):
            log = self._layout.log(name)
            lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()] or ["no output"]
            raise ClusterProblem(f"{name} has ended: {lines[-1][:300]} (all of it: {log})")

    def _file(self, name: str) -> Path:
        return self._layout.home / "run" / f"{name}.json"


def _has_ended(process: psutil.Process) -> bool:
    """Return whether a process is a zombie and nothing of it is left.

    A killed process is called a zombie as soon as its first thread has ended. Until its last one has,
    it holds its files, and its successor finds the port taken.
    """
    with process.oneshot():
        return process.status() == psutil.STATUS_ZOMBIE and process.num_threads() <= 1


def wait_until(look: Callable[[], bool], what: str, *, seconds: float, check: Callable[[], None] | None = None) -> None:
    """Wait for something.

    :raises ClusterProblem: it does not happen in time.
    """
    limit = time.monotonic() + seconds
    while not look():
        if check is not None:
            check()
        if time.monotonic() > limit:
            raise ClusterProblem(f"{what} takes longer than {seconds:.0f} s; `make cluster-down`, then try again.")
        time.sleep(0.2)
