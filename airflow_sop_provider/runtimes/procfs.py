"""Which processes exist, read from /proc: one pass serves every attempt of a host.

An attempt is more than its process group: a program may start a daemon that leaves the session.
Three marks find its processes: the session, a parent that belongs, and an environment variable
that every descendant inherits. What clears its environment *and* leaves session and parent
between two passes is not found; a host that must withstand that runs containers.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

__all__ = [
    "MARK",
    "TICKS",
    "Process",
    "ProcessTable",
    "boot_id",
    "kernel_oom_kills",
    "proportional_memory",
    "read_process",
    "send_signal",
]

MARK = "SOP_ATTEMPT"
"""Environment variable whose value (the attempt's folder) marks every process of an attempt."""

TICKS = os.sysconf("SC_CLK_TCK")
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_READ = 4096


class Process(NamedTuple):
    """One process at the moment of the pass; ``start`` is in ticks since boot, ``wait_status`` is a zombie's."""

    pid: int
    start: int
    state: str
    parent: int
    group: int
    session: int
    cpu_ticks: int
    waited_cpu_ticks: int
    resident_bytes: int
    wait_status: int

    @property
    def identity(self) -> tuple[int, int]:
        """What a reused pid does not share."""
        return (self.pid, self.start)

    @property
    def alive(self) -> bool:
        """False for a zombie: it has ended, only its parent has not looked."""
        return self.state not in "ZX"


def boot_id() -> str:
    """Return the kernel's id of this boot."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def kernel_oom_kills() -> int:
    """Return how many processes the kernel has killed for lack of memory since boot."""
    with contextlib.suppress(OSError, ValueError):
        for line in Path("/proc/vmstat").read_text().splitlines():
            if line.startswith("oom_kill "):
                return int(line.split()[1])
    return 0


def read_process(pid: int) -> Process | None:
    """Return the process, None if there is none."""
    try:
        descriptor = os.open(f"/proc/{pid}/stat", os.O_RDONLY)
    except OSError:
        return None
    try:
        text = os.read(descriptor, _READ)
    except ProcessLookupError:
        return None
    finally:
        os.close(descriptor)
    f = text[text.rfind(b")") + 2 :].split()  # the name before it may hold spaces and brackets; proc(5)
    return Process(
        pid=pid,
        start=int(f[19]),
        state=f[0].decode(),
        parent=int(f[1]),
        group=int(f[2]),
        session=int(f[3]),
        cpu_ticks=int(f[11]) + int(f[12]),
        waited_cpu_ticks=int(f[13]) + int(f[14]),
        resident_bytes=int(f[21]) * _PAGE_BYTES,
        wait_status=int(f[49]),
    )


def _mark_of(pid: int) -> str | None:
    try:
        environment = Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return None  # ended, or another user's
    prefix = f"{MARK}=".encode()
    for entry in environment.split(b"\0"):
        if entry.startswith(prefix):
            return os.fsdecode(entry[len(prefix) :])
    return None


def proportional_memory(pids: Iterable[int]) -> int | None:
    """Return the memory of the processes in bytes, shared pages counted once; None where the kernel does not tell."""
    total = 0
    for pid in pids:
        try:
            text = Path(f"/proc/{pid}/smaps_rollup").read_text()
        except (FileNotFoundError, ProcessLookupError):
            continue
        except OSError:
            return None
        total += next((int(line.split()[1]) * 1024 for line in text.splitlines() if line.startswith("Pss:")), 0)
    return total


def send_signal(process: Process, number: int) -> None:
    """Signal this very process; a process that reuses its pid is left alone."""
    try:
        descriptor = os.pidfd_open(process.pid)
    except OSError:
        return
    try:
        now = read_process(process.pid)
        if now is not None and now.start == process.start:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(descriptor, number)
    finally:
        os.close(descriptor)


@dataclass
class ProcessTable:
    """All processes, refreshed by `read`; remembers the mark of each so that it is read once.

    :param cost: CPU seconds of the last pass.
    """

    cost: float = 0.0
    processes: dict[int, Process] = field(default_factory=dict)
    _marks: dict[tuple[int, int], str | None] = field(default_factory=dict)
    _sessions: dict[int, list[Process]] = field(default_factory=dict)
    _by_mark: dict[str, list[Process]] = field(default_factory=dict)
    _children: dict[int, list[Process]] = field(default_factory=dict)

    def read(self) -> None:
        """Pass over /proc once."""
        begin = time.thread_time()
        own = os.getpid()
        found = (read_process(int(name)) for name in os.listdir("/proc") if name.isdecimal())
        self.processes = {p.pid: p for p in found if p is not None and p.alive and p.pid not in (1, own)}
        marks = self._marks
        self._marks, self._sessions, self._by_mark, self._children = {}, {}, {}, {}
        for process in self.processes.values():
            identity = process.identity
            mark = marks[identity] if identity in marks else _mark_of(process.pid)
            self._marks[identity] = mark
            if mark is not None:
                self._by_mark.setdefault(mark, []).append(process)
            self._sessions.setdefault(process.session, []).append(process)
            self._children.setdefault(process.parent, []).append(process)
        self.cost = time.thread_time() - begin

    def members(self, mark: str, leader: tuple[int, int], known: set[tuple[int, int]]) -> list[Process]:
        """Return the living processes of one attempt.

        :param leader: (pid, start) of its first process.
        :param known: identities found by earlier passes; once a member, always a member.
        """
        members = {p.pid: p for p in self._by_mark.get(mark, ())}
        now = self.processes.get(leader[0])
        if now is None or now.start == leader[1]:  # otherwise the pid, and with it the session, is someone else's
            members.update((p.pid, p) for p in self._sessions.get(leader[0], ()))
        for pid, start in known:
            process = self.processes.get(pid)
            if process is not None and process.start == start:
                members[pid] = process
        queue = list(members.values())
        while queue:
            for child in self._children.get(queue.pop().pid, ()):
                if child.pid not in members:
                    members[child.pid] = child
                    queue.append(child)
        return list(members.values())
