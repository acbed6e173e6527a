"""Watches all local attempts of a host: their end, their memory, their time.

One task and one pass over /proc serve every attempt, however many there are; the pause between
passes grows with their cost, so watching never takes more than a few percent of a core. Ends are
not polled: a pidfd becomes readable, for a process of ours as for one whose starter was killed.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import resource
import signal
import time
from collections.abc import Coroutine, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from airflow_sop_provider.runtimes import procfs
from airflow_sop_provider.runtimes.base import Outcome
from airflow_sop_provider.runtimes.local_files import AttemptFolder, Marker
from airflow_sop_provider.runtimes.local_outcome import ExitStatus, read_outcome

__all__ = ["LocalMonitor", "Watched", "resident_floor"]

_log = logging.getLogger(__name__)
_SHARE = 25  # passes may take 1/25 of a core


@dataclass(eq=False)
class Watched:
    """One attempt that has begun.

    :param owned: it is our child, so its exit status can be learned.
    :param resident_floor: what ru_maxrss says at least, because a child inherits it from us (exec_mmap in Linux).
    """

    folder: AttemptFolder
    marker: Marker
    owned: bool
    memory_bytes: int | None
    timeout_seconds: float | None
    over: asyncio.Future[Outcome]
    labels: dict[str, str] = field(default_factory=dict)
    resident_floor: int = 0
    known: set[tuple[int, int]] = field(default_factory=set)
    peak_bytes: int = 0
    cpu_seconds: float = 0.0
    killing: dict[str, Any] = field(default_factory=dict)
    pidfd: int = -1
    oom_kills: int = field(default_factory=procfs.kernel_oom_kills)

    def members(self, table: procfs.ProcessTable) -> list[procfs.Process]:
        """Return its living processes and remember them."""
        members = table.members(str(self.folder.path), (self.marker.pid, self.marker.start), self.known)
        self.known = {p.identity for p in members}
        return members

    def age(self) -> float:
        """Return the seconds since its program began; not fooled by a clock that is set."""
        return time.clock_gettime(time.CLOCK_BOOTTIME) - self.marker.start / procfs.TICKS


class LocalMonitor:
    """The watcher of one event loop.

    :param interval: seconds between passes at least.
    :param kill_grace: seconds between asking a timed-out attempt to end and forcing it.
    """

    def __init__(self, *, interval: float = 0.2, kill_grace: float = 5.0) -> None:
        self._interval = interval
        self._kill_grace = kill_grace
        self._running: set[Watched] = set()
        self._table = procfs.ProcessTable()
        self._next_pass: asyncio.Task[procfs.ProcessTable] | None = None
        self._pass_lock = asyncio.Lock()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._loop_task: asyncio.Task[None] | None = None

    def watch(self, watched: Watched) -> None:
        """Take an attempt that has begun; its future resolves when nothing of it runs any more."""
        pidfd = _open_pidfd(watched.marker)
        if pidfd is None:
            self._spawn(self._finish(watched, ExitStatus()))
            return
        watched.pidfd = pidfd
        self._running.add(watched)
        asyncio.get_running_loop().add_reader(pidfd, self._on_exit, watched)
        if self._loop_task is None:
            self._loop_task = asyncio.create_task(self._watch_limits(), name="sop-local-monitor")

    async def processes(self) -> procfs.ProcessTable:
        """Return a table from a pass that began after this call; callers at the same time share one."""
        if self._next_pass is None:
            self._next_pass = asyncio.create_task(self._pass())
        return await asyncio.shield(self._next_pass)

    async def signal(self, watched: Watched, number: int) -> bool:
        """Signal every process of an attempt; False if there is none left."""
        members = watched.members(await self.processes())
        if any(p.group == watched.marker.pid for p in members):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(watched.marker.pid, number)  # atomic: a fork in progress does not slip through
        for process in members:
            if process.group != watched.marker.pid:
                procfs.send_signal(process, number)
        return bool(members)

    async def end(self, watched: Watched, why: Mapping[str, Any], *, grace: float) -> None:
        """Ask the attempt to end, force it after ``grace`` seconds; return when it is over."""
        if not watched.killing:
            watched.killing = dict(why)
            await asyncio.to_thread(watched.folder.write_killed, why)
        if grace > 0 and await self.signal(watched, signal.SIGTERM):
            await asyncio.wait({watched.over}, timeout=grace)
        while not watched.over.done():
            await self.signal(watched, signal.SIGKILL)
            await asyncio.wait({watched.over}, timeout=0.05)

    async def close(self) -> None:
        """Stop watching; the attempts go on."""
        tasks = [*self._tasks, *([self._loop_task] if self._loop_task else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for watched in list(self._running):
            self._forget(watched)
            watched.over.cancel()

    async def _pass(self) -> procfs.ProcessTable:
        async with self._pass_lock:
            self._next_pass = None  # who asks from here on needs a later one
            await asyncio.to_thread(self._table.read)
            return self._table

    def _on_exit(self, watched: Watched) -> None:
        status = _reap(watched) if watched.owned else _look(watched.marker)
        if status.signal == signal.SIGKILL and procfs.kernel_oom_kills() > watched.oom_kills:
            status = replace(status, kernel_oom=True)
        self._forget(watched)
        status = status.with_measured(watched.peak_bytes, watched.cpu_seconds, watched.age())
        self._spawn(self._finish(watched, status))

    def _forget(self, watched: Watched) -> None:
        self._running.discard(watched)
        if watched.pidfd >= 0:
            asyncio.get_running_loop().remove_reader(watched.pidfd)
            os.close(watched.pidfd)
            watched.pidfd = -1

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _finish(self, watched: Watched, status: ExitStatus) -> None:
        """End what the program left running, then tell its outcome."""
        try:
            await asyncio.to_thread(status.store, watched.folder)
            while await self.signal(watched, signal.SIGKILL):
                status = status.with_leftovers(len(watched.known))
                await asyncio.sleep(0.02)
            outcome = await asyncio.to_thread(read_outcome, watched.folder, watched.marker, status, watched.killing)
        except Exception as error:
            _log.exception("cannot tell the outcome of attempt %s", watched.folder.name)
            if not watched.over.done():
                watched.over.set_exception(error)
            return
        if not watched.over.done():
            watched.over.set_result(outcome)

    async def _watch_limits(self) -> None:
        while True:
            if self._running:
                try:
                    table = await self.processes()
                    for watched in list(self._running):
                        await self._check(watched, watched.members(table))
                except Exception:  # one unreadable process must not end the watch of all others
                    _log.exception("a pass over the local attempts failed")
            await asyncio.sleep(max(self._interval, self._table.cost * _SHARE))

    async def _check(self, watched: Watched, members: list[procfs.Process]) -> None:
        resident = sum(p.resident_bytes for p in members)
        cpu = sum(p.cpu_ticks + p.waited_cpu_ticks for p in members) / procfs.TICKS
        watched.cpu_seconds = max(watched.cpu_seconds, cpu)
        limit = watched.memory_bytes
        if limit is not None and resident > limit:
            resident = await _exact_memory(members, resident)
        watched.peak_bytes = max(watched.peak_bytes, resident)
        if watched.killing:
            return
        if limit is not None and resident > limit:
            why = {"reason": "memory", "limit_bytes": limit, "used_bytes": resident, "processes": len(members)}
            self._spawn(self.end(watched, why, grace=0))
        elif watched.timeout_seconds is not None and watched.age() > watched.timeout_seconds:
            why = {"reason": "timeout", "limit_seconds": watched.timeout_seconds, "seconds": round(watched.age(), 3)}
            self._spawn(self.end(watched, why, grace=self._kill_grace))


async def _exact_memory(members: list[procfs.Process], resident: int) -> int:
    """The sum of resident sizes counts shared pages several times: measure exactly before ending anything."""
    exact = await asyncio.to_thread(procfs.proportional_memory, [p.pid for p in members])
    return resident if exact is None else exact


def _open_pidfd(marker: Marker) -> int | None:
    """Return a descriptor of the marker's very process, None if it has ended."""
    if marker.pid <= 0 or marker.boot != procfs.boot_id():
        return None
    try:
        descriptor = os.pidfd_open(marker.pid)
    except OSError:
        return None
    process = procfs.read_process(marker.pid)
    if process is not None and process.start == marker.start:
        return descriptor
    os.close(descriptor)
    return None


def _look(marker: Marker) -> ExitStatus:
    """Return how a process ended that is not our child, if its new parent has not taken note of it yet."""
    process = procfs.read_process(marker.pid)
    if process is None or process.start != marker.start or process.alive:
        return ExitStatus()
    return ExitStatus.of(process.wait_status)


def _reap(watched: Watched) -> ExitStatus:
    try:
        _, status, usage = os.wait4(watched.marker.pid, os.WNOHANG)
    except ChildProcessError:
        return ExitStatus()
    return ExitStatus.of(status).with_usage(usage, watched.resident_floor)


def resident_floor() -> int:
    """Return the size in bytes below which a new child's ru_maxrss tells nothing."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
