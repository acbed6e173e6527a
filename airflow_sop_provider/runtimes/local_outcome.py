"""From the exit of a process and the files of its attempt to an `Outcome`."""

from __future__ import annotations

import os
import resource
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import Any

from airflow_sop_provider.contract.verdict import Usage, Verdict
from airflow_sop_provider.runtimes import procfs
from airflow_sop_provider.runtimes.base import Outcome
from airflow_sop_provider.runtimes.local_files import AttemptFolder, Marker

__all__ = ["ExitStatus", "read_outcome"]


@dataclass(frozen=True)
class ExitStatus:
    """How a process ended, as far as it could be learned, and what it used."""

    exit_code: int | None = None
    signal: int | None = None
    known: bool = False
    peak_memory_bytes: int | None = None
    cpu_seconds: float | None = None
    wall_seconds: float | None = None
    ended_at: float | None = None
    leftovers: int = 0
    kernel_oom: bool = False

    @classmethod
    def of(cls, status: int) -> ExitStatus:
        """Return what a wait status says."""
        code = os.waitstatus_to_exitcode(status)
        return cls(exit_code=code if code >= 0 else None, signal=-code if code < 0 else None, known=True)

    def with_usage(self, usage: resource.struct_rusage, resident_floor: int) -> ExitStatus:
        """Add what ``wait4`` gave; its ru_maxrss counts only above ``resident_floor`` bytes."""
        peak = usage.ru_maxrss * 1024
        return replace(
            self,
            peak_memory_bytes=peak if peak > resident_floor else None,
            cpu_seconds=usage.ru_utime + usage.ru_stime,
        )

    def with_measured(self, peak_bytes: int, cpu_seconds: float, wall_seconds: float) -> ExitStatus:
        """Fill in what the monitor saw; 0 means it saw nothing."""
        return replace(
            self,
            peak_memory_bytes=max(self.peak_memory_bytes or 0, peak_bytes) or None,
            cpu_seconds=max(self.cpu_seconds or 0.0, cpu_seconds) or None,
            wall_seconds=round(wall_seconds, 3),
            ended_at=datetime.now(UTC).timestamp(),
        )

    def with_leftovers(self, count: int) -> ExitStatus:
        """Note how many processes outlived the program and were ended."""
        return replace(self, leftovers=max(self.leftovers, count))

    def store(self, folder: AttemptFolder) -> None:
        """Keep it for a later process; what the parent learned is never overwritten."""
        if self.known or not folder.exit():
            folder.write_exit(asdict(self))

    @classmethod
    def stored(cls, folder: AttemptFolder) -> ExitStatus | None:
        """Return what was kept, None if nothing was."""
        try:
            return cls(**folder.exit()) if folder.exit() else None
        except TypeError:
            return None


def read_outcome(folder: AttemptFolder, marker: Marker, status: ExitStatus, killing: Mapping[str, Any]) -> Outcome:
    """Return the outcome of an attempt of which nothing runs any more."""
    if not status.known:
        status = replace(ExitStatus.stored(folder) or status, leftovers=status.leftovers)
    verdict, problem = folder.verdict()
    killed = dict(killing) or folder.killed()
    evidence: dict[str, Any] = {"runtime": "local", "exit_known": status.known}
    evidence |= _filled("killed", killed) | dict(problem)
    evidence |= _filled("exec_error", folder.exec_error()) | _filled("leftovers_ended", status.leftovers)
    if marker.boot != procfs.boot_id():
        evidence["rebooted"] = True
    reason = killed.get("reason")
    evidence |= _filled("kernel_oom", status.kernel_oom)
    oom = reason == "memory" or status.kernel_oom or _died_over_limit(folder, status, verdict, evidence)
    return Outcome(
        exit_code=status.exit_code,
        signal=status.signal,
        verdict=verdict,
        events=() if verdict is not None else folder.events(),
        evidence=evidence,
        oom=oom,
        timed_out=reason == "timeout",
        stopped=reason == "stopped",
        usage=_usage(verdict, status),
        started_at=datetime.fromtimestamp(marker.wall, UTC) if marker.wall else None,
        ended_at=datetime.fromtimestamp(status.ended_at, UTC) if status.ended_at else None,
    )


def _died_over_limit(
    folder: AttemptFolder, status: ExitStatus, verdict: Verdict | None, evidence: dict[str, Any]
) -> bool:
    """Tell whether a program that failed had been over its limit between two passes of the monitor."""
    limit, peak = folder.spec().get("memory_bytes"), status.peak_memory_bytes
    if not limit or peak is None or peak <= limit or status.exit_code == 0:
        return False
    if verdict is not None and verdict.status != "failed":
        return False
    evidence["memory"] = {"limit_bytes": limit, "peak_bytes": peak}
    return True


def _usage(verdict: Verdict | None, status: ExitStatus) -> Usage | None:
    """The runner's figures where it gave them, ours for the rest."""
    measured = {
        "peak_memory_bytes": status.peak_memory_bytes,
        "cpu_seconds": status.cpu_seconds,
        "wall_seconds": status.wall_seconds,
    }
    told = verdict.usage.model_dump(exclude_none=True) if verdict is not None else {}
    figures = {name: value for name, value in measured.items() if value is not None} | told
    return Usage(**figures) if figures else None


def _filled(name: str, value: object) -> dict[str, Any]:
    return {name: value} if value else {}
