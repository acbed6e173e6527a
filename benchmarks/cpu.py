"""CPU time of Airflow's components, from the kernel's own accounts of their processes.

A process's time is its own and that of the children it has waited for; a tree's is the sum over
its living processes. That misses nothing and counts nothing twice as long as it is read while no
process ends, so samples are taken when the work is over.

In the scheduler's tree lives the executor's child, and below that the runners. A runner is the step's
own work, on a cluster it is another machine's, so it has an account of its own.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import psutil

__all__ = [
    "EXECUTOR",
    "RUNNERS",
    "busy_children",
    "difference",
    "executor_child",
    "processes_running",
    "sample",
    "tree_seconds",
]

EXECUTOR = "executor child"
RUNNERS = "runners"
_SCHEDULER = "scheduler"
# before and after it has set its title
_EXECUTOR_TITLES = ("airflow_sop_provider.executors.child", "airflow sop executor")


def tree_seconds(pid: int) -> float:
    """Return the CPU seconds of a process and all below it, also of those that have ended; 0 if it is gone."""
    return sum(_seconds(process) for process in _tree(pid))


def sample(components: Mapping[str, int]) -> dict[str, float]:
    """Return CPU seconds so far by account: the components, the executor's child and the runners.

    :param components: name -> process id.
    """
    accounts = {name: tree_seconds(pid) for name, pid in components.items() if name != _SCHEDULER}
    if _SCHEDULER not in components:
        return accounts
    whole = tree_seconds(components[_SCHEDULER])
    children = _executor_children(components[_SCHEDULER])
    executor = sum(_own_seconds(child) for child in children)
    below = sum(tree_seconds(child.pid) for child in children)
    return {**accounts, _SCHEDULER: whole - below, EXECUTOR: executor, RUNNERS: below - executor}


def difference(after: Mapping[str, float], before: Mapping[str, float]) -> dict[str, float]:
    """Return what was used between two samples, by account."""
    return {name: value - before.get(name, 0.0) for name, value in after.items()}


def busy_children(scheduler: int) -> list[int]:
    """Return the ids of the processes below the executor's children of a scheduler."""
    children = _executor_children(scheduler)
    if not children:
        raise LookupError("the scheduler has no SopExecutor child: its CPU time could not be told from the runners'")
    return [process.pid for child in children for process in _tree(child.pid)[1:]]


def executor_child(scheduler: int) -> psutil.Process:
    """Return the executor's child of a scheduler.

    :raises LookupError: it has none.
    """
    for child in _executor_children(scheduler):
        return child
    raise LookupError("the scheduler has no SopExecutor child")


def processes_running(command: Sequence[str]) -> list[int]:
    """Return the ids of this machine's processes with this command line, whatever folder the program is in."""
    name, *arguments = command
    found = []
    for process in psutil.process_iter(["cmdline"]):
        program, *rest = process.info["cmdline"] or [""]
        if Path(program).name == name and rest == arguments:
            found.append(process.pid)
    return found


def _executor_children(scheduler: int) -> list[psutil.Process]:
    return [process for process in _tree(scheduler) if _is_executor_child(process)]


def _is_executor_child(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.Error):
        return any(argument.strip() in _EXECUTOR_TITLES for argument in process.cmdline())
    return False


def _tree(pid: int) -> list[psutil.Process]:
    with contextlib.suppress(psutil.Error):
        root = psutil.Process(pid)
        return [root, *_below(root)]
    return []


def _below(process: psutil.Process) -> Iterable[psutil.Process]:
    with contextlib.suppress(psutil.Error):
        return process.children(recursive=True)
    return []


def _own_seconds(process: psutil.Process) -> float:
    with contextlib.suppress(psutil.Error):
        times = process.cpu_times()
        return times.user + times.system
    return 0.0


def _seconds(process: psutil.Process) -> float:
    with contextlib.suppress(psutil.Error):
        times = process.cpu_times()
        return times.user + times.system + times.children_user + times.children_system
    return 0.0
