"""Attempts as processes of this host: the embedded default, with the contract of a pod.

Each attempt has its own session, folder, cleaned environment and limits, and outlives whoever
started it. Nothing is kept in memory that the folder does not say, so a new instance adopts what
an old one started. It isolates against accidents (a crash, a leak, a runaway loop), not against
malice: steps run as the same user. Hosts that need more use the kubernetes or docker runtime.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from airflow_sop_provider.contract.exit_codes import ErrorType
from airflow_sop_provider.runtimes.base import AttemptSpec, Handle, Outcome, RuntimeStartError, RuntimeStateError
from airflow_sop_provider.runtimes.local_files import AttemptFolder, Marker
from airflow_sop_provider.runtimes.local_monitor import LocalMonitor, Watched
from airflow_sop_provider.runtimes.local_spawn import PASSED_ON, check_spec, spawn, start_error
from airflow_sop_provider.runtimes.log_lines import LogWatch

__all__ = ["LocalRuntime"]

_LOST_RACE_SECONDS = 30.0  # another starter's entry program needs milliseconds, on a loaded host a few seconds
_UNSTOPPABLE_SECONDS = 30.0  # a process that survives SIGKILL this long hangs in the kernel


class LocalRuntime:
    """Runs attempts below one folder.

    :param root: folder of the attempts; made when missing.
    :param passed_on: names of variables of this process that attempts get too, where they are set.
    :param interval: seconds between looks at memory and time.
    :param kill_grace: seconds a timed-out attempt gets between SIGTERM and SIGKILL.
    """

    name = "local"

    def __init__(
        self,
        root: Path,
        *,
        passed_on: tuple[str, ...] = PASSED_ON,
        interval: float = 0.2,
        kill_grace: float = 5.0,
    ) -> None:
        self.root = root.resolve()
        self._passed_on = passed_on
        self._monitor = LocalMonitor(interval=interval, kill_grace=kill_grace)
        self._logs = LogWatch()
        self._watched: dict[str, Watched] = {}
        self._starting: dict[str, asyncio.Task[Handle]] = {}

    def folder(self, name: str) -> Path:
        """Return the attempt's folder, where for example its events file is."""
        return self.root / name

    async def start(self, spec: AttemptSpec) -> Handle:
        """Start the attempt or adopt the one of that name; see `Runtime.start`."""
        check_spec(spec)
        if (watched := self._watched.get(spec.name)) is not None:
            return _handle(watched, adopted=True)
        task = self._starting.get(spec.name)
        if task is None:
            task = asyncio.create_task(self._start(spec), name=f"start {spec.name}")
            self._starting[spec.name] = task
            task.add_done_callback(lambda _: self._starting.pop(spec.name, None))
        return await asyncio.shield(task)  # a cancelled caller must not lose sight of a process just made

    async def wait(self, handle: Handle) -> Outcome:
        """Return once the attempt is over; see `Runtime.wait`."""
        return await asyncio.shield((await self._known(handle)).over)

    async def logs(self, handle: Handle, offset: int = 0) -> AsyncIterator[tuple[int, str]]:
        """Follow the output; see `Runtime.logs`."""
        watched = await self._known(handle)
        async for item in self._logs.follow(watched.folder.output, offset, watched.over):
            yield item

    async def stop(self, handle: Handle, *, grace: float) -> None:
        """End the attempt; see `Runtime.stop`. One that never ran or is gone is no error."""
        try:
            watched = await self._known(handle)
        except RuntimeStateError:
            return
        if watched.over.done():
            return
        try:
            async with asyncio.timeout(grace + _UNSTOPPABLE_SECONDS):
                await self._monitor.end(watched, {"reason": "stopped", "grace_seconds": grace}, grace=grace)
        except TimeoutError as error:
            raise RuntimeStateError(
                f"processes of attempt `{handle.name}` survive SIGKILL: they hang in the kernel, "
                "look for a dead network mount or device",
                error_type=ErrorType.TRANSIENT,
                code="unstoppable",
                evidence={"pids": sorted(pid for pid, _ in watched.known)},
            ) from error

    async def remove(self, handle: Handle) -> None:
        """Delete the attempt's folder; see `Runtime.remove`."""
        folder = AttemptFolder(self.folder(handle.name))
        watched = self._watched.get(handle.name)
        if watched is None and (marker := await asyncio.to_thread(folder.marker)) is not None:
            watched = await self._adopt(folder, marker)
        running = not watched.over.done() if watched is not None else await asyncio.to_thread(folder.is_locked)
        if running:
            raise RuntimeStateError(
                f"attempt `{handle.name}` still runs; wait for it or stop it before removing it",
                error_type=ErrorType.TRANSIENT,
                code="still-running",
            )
        self._watched.pop(handle.name, None)
        await asyncio.to_thread(folder.remove)

    async def find(self) -> list[Handle]:
        """Return every attempt below the root and watch the running ones; see `Runtime.find`."""
        handles = []
        for folder, marker, spec in await asyncio.to_thread(_survey, self.root):
            if marker is None:
                labels = dict(spec.get("labels") or {})
                handles.append(Handle(name=folder.name, uid="", state="created", adopted=True, labels=labels))
            else:
                handles.append(_handle(await self._adopt(folder, marker), adopted=True))
        return handles

    async def close(self) -> None:
        """Stop watching; running attempts go on and can be found again."""
        await asyncio.gather(*self._starting.values(), return_exceptions=True)
        await self._monitor.close()
        self._watched.clear()

    async def _start(self, spec: AttemptSpec) -> Handle:
        folder = AttemptFolder(self.folder(spec.name))
        try:
            await asyncio.to_thread(folder.create, spec)
        except OSError as error:
            raise start_error(spec.name, "cannot make the folder of", error.errno, str(error)) from error
        loop = asyncio.get_running_loop()
        give_up = loop.time() + _LOST_RACE_SECONDS
        while (marker := await asyncio.to_thread(folder.marker)) is None:
            started = await spawn(spec, folder, self._passed_on)
            if started is not None:
                return _handle(self._watch(folder, started.marker, started.resident_floor), adopted=False)
            if loop.time() > give_up:
                raise RuntimeStartError(
                    f"attempt `{spec.name}` is being started by another process that does not get on; "
                    "end the process that holds its lock",
                    error_type=ErrorType.TRANSIENT,
                    code="start-lock",
                )
            await asyncio.sleep(0.02)
        return _handle(await self._adopt(folder, marker), adopted=True)

    async def _known(self, handle: Handle) -> Watched:
        if (watched := self._watched.get(handle.name)) is not None:
            return watched
        folder = AttemptFolder(self.folder(handle.name))
        marker = await asyncio.to_thread(folder.marker)
        if marker is None:
            raise RuntimeStateError(
                f"attempt `{handle.name}` has not run here; start it first",
                error_type=ErrorType.CRASH,
                code="no-such-attempt",
            )
        return await self._adopt(folder, marker)

    async def _adopt(self, folder: AttemptFolder, marker: Marker) -> Watched:
        """Watch an attempt that someone else started."""
        return self._watched.get(folder.name) or self._watch(folder, marker, None)

    def _watch(self, folder: AttemptFolder, marker: Marker, resident_floor: int | None) -> Watched:
        spec = folder.spec()
        watched = Watched(
            folder=folder,
            marker=marker,
            owned=resident_floor is not None,
            resident_floor=resident_floor or 0,
            memory_bytes=spec.get("memory_bytes"),
            timeout_seconds=spec.get("timeout_seconds"),
            labels=dict(spec.get("labels") or {}),
            over=asyncio.get_running_loop().create_future(),
        )
        self._watched[folder.name] = watched
        self._monitor.watch(watched)
        return watched


def _handle(watched: Watched, *, adopted: bool) -> Handle:
    return Handle(
        name=watched.folder.name,
        uid=watched.marker.uid,
        state="running" if watched.pidfd >= 0 else "ended",
        adopted=adopted,
        labels=watched.labels,
        started_at=datetime.fromtimestamp(watched.marker.wall, UTC) if watched.marker.wall else None,
    )


def _survey(root: Path) -> list[tuple[AttemptFolder, Marker | None, dict[str, Any]]]:
    return [(folder, folder.marker(), folder.spec()) for folder in AttemptFolder.all_of(root)]
