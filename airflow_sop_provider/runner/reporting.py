"""Writes the verdict: in full to a file or the output, and a copy that always fits to the termination log.

The full verdict appears all at once (temporary file, fsync, rename), so whoever finds it reads
all of it. If the disk is full the copy still goes out, and after that the exit code is left.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from airflow_sop_provider.contract.verdict import Verdict
from airflow_sop_provider.contract.verdict_lines import lines_of
from airflow_sop_provider.runner.environment import RunnerEnvironment
from airflow_sop_provider.runner.lines import EventLog, Log

__all__ = ["Reporter", "write_termination_message", "write_verdict"]


class Reporter:
    """Tells the end of an attempt to everyone who listens: log, events, verdict file, termination log."""

    def __init__(self, environment: RunnerEnvironment, log: Log, events: EventLog) -> None:
        self._environment = environment
        self._log = log
        self._events = events

    def report(self, verdict: Verdict, exit_code: int) -> None:
        """Report a verdict; whatever cannot be written is said in the log and does not stop the rest."""
        self._announce(verdict, exit_code)
        verdict = verdict.model_copy(update={"events": self._events.pending.rest()})
        self._write(verdict, self._environment.verdict, write_verdict)
        if self._environment.verdict is None and not verdict.fits_termination_message():
            for line in lines_of(verdict):  # the output is all that comes back of this container
                self._log.raw(line)
        self._write(verdict, self._environment.termination_log, write_termination_message)

    def _write(self, verdict: Verdict, path: Path | None, write: Callable[[Verdict, Path], None]) -> None:
        if path is None:
            return
        try:
            write(verdict, path)
        except OSError as error:
            self._log.line("error", f"The verdict cannot be written to {path}: {error}")

    def _announce(self, verdict: Verdict, exit_code: int) -> None:
        error = verdict.error
        fields: dict[str, Any] = {"status": verdict.status, "exit_code": exit_code}
        if error is not None:
            fields |= {"error_type": str(error.type), "code": error.code}
        text = error.message if error is not None else verdict.reason or "The step succeeded"
        usage = verdict.usage.model_dump(exclude_none=True)
        self._events.emit("attempt.end", message=text, usage=usage, dropped_events=self._events.dropped, **fields)
        if error is not None and "traceback" in error.details:
            self._log.line("error", error.details["traceback"])
        self._log.line("info" if error is None else "error", text, **fields)


def write_verdict(verdict: Verdict, path: Path) -> None:
    """Write the full verdict atomically and durably.

    :raises OSError: if it cannot be written; nothing is left behind then.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with temporary.open("wb") as file:
            os.fchmod(file.fileno(), 0o600)
            file.write(verdict.encoded())
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)


def write_termination_message(verdict: Verdict, path: Path) -> None:
    """Write the copy of at most 4,096 bytes; in place, since Kubernetes mounts this very file.

    :raises OSError: if it cannot be written.
    """
    with path.open("wb") as file:
        file.write(verdict.to_termination_message())


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    except OSError:
        return  # some file systems cannot sync a folder; the file itself is safe
    finally:
        os.close(descriptor)
