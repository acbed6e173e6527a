"""What the attempt used, from cgroup and /proc: no service, no dependency.

Honest or absent: memory and network of a whole cgroup or network namespace count only where the
attempt has it for itself (a container). In the local runtime it shares both with the host, so
memory is that of the largest process and network is None.
"""

from __future__ import annotations

import os
import resource
import time
from pathlib import Path

from airflow_sop_provider.contract.verdict import Usage

__all__ = ["UsageMeter", "seconds_since_process_start"]

_KIB = 1024
_START_FIELD = 19  # "starttime" of /proc/self/stat, counted after the command's closing parenthesis
_RECEIVED, _SENT = 0, 8  # columns of /proc/net/dev


def seconds_since_process_start(proc: Path = Path("/proc")) -> float | None:
    """Return how long this process exists, None where /proc does not say (resolution: 10 ms)."""
    try:
        fields = (proc / "self" / "stat").read_text().rpartition(")")[2].split()
        started = int(fields[_START_FIELD]) / os.sysconf("SC_CLK_TCK")
        return round(max(0.0, time.clock_gettime(time.CLOCK_BOOTTIME) - started), 3)
    except (OSError, IndexError, ValueError, AttributeError):
        return None


class UsageMeter:
    """Measures one attempt: wall time from the process's start, network from the meter's construction on.

    :param proc: where procfs is mounted.
    :param cgroup: where the cgroup file system is mounted.
    """

    def __init__(self, proc: Path = Path("/proc"), cgroup: Path = Path("/sys/fs/cgroup")) -> None:
        self._proc = proc
        self._cgroup = cgroup
        self._started = time.monotonic() - (seconds_since_process_start(proc) or 0.0)
        self._contained = _is_container(proc, cgroup)
        self._network = self._network_bytes()

    def read(self) -> Usage:
        """Return what was used so far; children count once they were waited for."""
        own, children = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
        network = self._network_bytes()
        return Usage(
            peak_memory_bytes=self._cgroup_peak() or max(self._own_peak(), children.ru_maxrss * _KIB) or None,
            cpu_seconds=round(own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime, 3),
            wall_seconds=round(time.monotonic() - self._started, 3),
            network_received_bytes=_difference(network, self._network, 0),
            network_sent_bytes=_difference(network, self._network, 1),
        )

    def _cgroup_peak(self) -> int | None:
        if not self._contained:
            return None
        for name in ("memory.peak", "memory/memory.max_usage_in_bytes"):  # cgroup v2 (kernel 5.19), v1
            try:
                return int((self._cgroup / name).read_text())
            except (OSError, ValueError):
                continue
        return None

    def _own_peak(self) -> int:
        """Return this program's peak; ``ru_maxrss`` would include whoever forked us, up to our own exec."""
        try:
            lines = (self._proc / "self" / "status").read_text().splitlines()
        except OSError:
            return 0
        return next((int(line.split()[1]) * _KIB for line in lines if line.startswith("VmHWM:")), 0)

    def _network_bytes(self) -> tuple[int, int] | None:
        if not self._contained:
            return None
        try:
            lines = (self._proc / "net" / "dev").read_text().splitlines()[2:]
        except OSError:
            return None
        counters = [line.partition(":")[2].split() for line in lines if line.split(":")[0].strip() != "lo"]
        return sum(int(c[_RECEIVED]) for c in counters), sum(int(c[_SENT]) for c in counters)


def _difference(now: tuple[int, int] | None, before: tuple[int, int] | None, index: int) -> int | None:
    return None if now is None or before is None else now[index] - before[index]


def _is_container(proc: Path, cgroup: Path) -> bool:
    """Return whether everything in our cgroup began with us: then we are process 1 of a container or its child."""
    me = os.getpid()
    if me != 1 and os.getppid() != 1:  # process 1 itself, or started by a container's init
        return False
    for name in ("cgroup.procs", "memory/cgroup.procs"):
        try:
            members = {int(line) for line in (cgroup / name).read_text().split()}
        except (OSError, ValueError):
            continue
        visible = {int(entry.name) for entry in proc.iterdir() if entry.name.isdigit()}
        return me in members and 1 in members and visible <= members
    return False
