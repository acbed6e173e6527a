"""Starts Airflow's components as children that cannot outlive us, and ends everything below them.

Each component leads a process group, so Ctrl-C in the terminal reaches only the supervisor, which
ends them in order. Attempts of SOP steps live in sessions of their own and survive their executor
on purpose; for that reason the supervisor is the "subreaper" of all its descendants: what loses its
parent becomes its child and is found. Should the supervisor itself be killed, the kernel tells the
components to end (parent-death signal).
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from tools.dev.component import STARTER_VARIABLE
from tools.dev.environment import ROOT

__all__ = [
    "Component",
    "become_subreaper",
    "end_components",
    "end_descendants",
    "reap",
    "run_and_reap",
    "start_component",
]

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_LIBC = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


@dataclass(frozen=True)
class Component:
    """A running part of Airflow, leader of its process group."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path

    @property
    def ended(self) -> bool:
        """Whether it is no longer running."""
        return self.process.poll() is not None


def become_subreaper() -> None:
    """Have every descendant that loses its parent become our child; without effect outside Linux."""
    if _LIBC is not None:
        _LIBC.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def start_component(name: str, command: Sequence[str], *, environment: Mapping[str, str], log: Path) -> Component:
    """Start ``command`` in a process group of its own, its output appended to ``log``.

    :raises OSError: the program cannot be started, or the log cannot be written.
    """
    with log.open("ab") as output:
        process = subprocess.Popen(
            list(command),
            cwd=ROOT,
            env={**environment, STARTER_VARIABLE: str(os.getpid())},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=_die_with_parent,  # noqa: PLW1509 - one system call: it needs no lock that a thread may hold
        )
    return Component(name, process, log)


def end_components(components: Iterable[Component], *, grace: float) -> None:
    """Ask the components' groups to end; kill what is left after ``grace`` seconds."""
    components = list(components)
    for component in components:
        _signal_group(component, signal.SIGTERM)
    limit = time.monotonic() + grace
    for component in components:
        with contextlib.suppress(subprocess.TimeoutExpired):
            component.process.wait(max(0.0, limit - time.monotonic()))
        _signal_group(component, signal.SIGKILL)
        component.process.wait()


def end_descendants(*, grace: float) -> list[int]:
    """End every process below us, whatever session it is in; return the pids that had to be ended.

    Repeats until none is left, because a process may have started another meanwhile.
    """
    me = psutil.Process()
    ended: list[int] = []
    while children := [child for child in me.children(recursive=True) if _alive(child)]:
        ended += [child.pid for child in children if child.pid not in ended]
        for child in children:
            with contextlib.suppress(psutil.NoSuchProcess):
                child.terminate()
        _, left = psutil.wait_procs(children, timeout=grace)
        for child in left:
            with contextlib.suppress(psutil.NoSuchProcess):
                child.kill()
        psutil.wait_procs(left, timeout=grace)
    reap()
    return ended


def _alive(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.NoSuchProcess):
        return process.status() != psutil.STATUS_ZOMBIE
    return False


def reap(components: Iterable[Component] = ()) -> None:
    """Collect descendants that became our children and have ended; nobody else waits for them.

    Whoever asks whether such a process still exists would otherwise be told yes for ever.
    """
    own = {component.process.pid: component.process for component in components}
    with contextlib.suppress(ChildProcessError):
        while ended := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT):
            if ended.si_pid in own:
                own[ended.si_pid].poll()  # its exit code belongs to the Popen object
            else:
                os.waitpid(ended.si_pid, os.WNOHANG)


def run_and_reap(command: Sequence[str], *, environment: Mapping[str, str] | None = None) -> int:
    """Run a command in the checkout and return its exit code; meanwhile collect orphans that became our children.

    For a subreaper: whoever in the command waits for such an orphan to be gone would see a zombie for ever.
    """
    process = subprocess.Popen(list(command), cwd=ROOT, env=environment)
    while True:
        pid, status = os.waitpid(-1, 0)
        if pid == process.pid:
            return os.waitstatus_to_exitcode(status)


def _signal_group(component: Component, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(component.process.pid, number)


def _die_with_parent() -> None:
    if _LIBC is not None:
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
