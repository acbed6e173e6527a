"""The log file of one attempt, where Airflow's UI reads it: JSON lines, each line once.

The runtime keeps an attempt's output; this copies it line by line and notes in every line how far
it had read (``loc``, one of the fields that Airflow's UI does not show). After a crash the last
complete line therefore says where to go on: nothing is lost and nothing is written twice, with no
second file that could disagree.

A full disk must not end a step: a line that cannot be written is tried again until it can.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal

__all__ = ["AttemptLog", "open_attempt_log", "upload_attempt_log"]

log = logging.getLogger(__name__)

_OUTPUT = "output.log"
_OFFSET = re.compile(rf"{re.escape(_OUTPUT)}:(\d+)")
_TAIL_BYTES = 1 << 18
_TICK = timedelta(microseconds=1)
_FLUSH_BYTES = 1 << 16

Level = Literal["debug", "info", "warning", "error"]


class AttemptLog:
    """Appends to one attempt's log file.

    :param path: absolute path; the folder exists.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._last_time = datetime.min.replace(tzinfo=UTC)
        self._pending: list[bytes] = []
        self._pending_bytes = 0
        self.offset = _recover(path)
        """Bytes of the attempt's output that the file already holds."""

    def say(self, level: Level, event: str, **fields: Any) -> None:
        """Add a line of the executor's own. A full disk loses it: the attempt matters more."""
        entry = {"timestamp": self._now(), "level": level, "event": event, "logger": "sop.executor", **fields}
        self._pending.append(_encode(entry))
        try:
            self.flush()
        except OSError as error:
            log.warning("%s: %s; lost: %s", self._path, error, event)

    def add(self, offset: int, line: str) -> None:
        """Add a line of the attempt's output, the output being read up to ``offset`` after it."""
        entry = _structured(line) or {"event": line, "level": "info"}
        entry.setdefault("timestamp", self._now())
        entry["logger"] = "sop.runner"
        entry["loc"] = f"{_OUTPUT}:{offset}"
        encoded = _encode(entry)
        self._pending.append(encoded)
        self._pending_bytes += len(encoded)
        self.offset = offset

    @property
    def wants_flush(self) -> bool:
        """Whether enough lines wait that writing them now is cheaper than waiting for more."""
        return self._pending_bytes >= _FLUSH_BYTES

    def flush(self) -> None:
        """Write what waits.

        :raises OSError: if the disk is full; nothing is lost, call it again.
        """
        if not self._pending:
            return
        data = b"".join(self._pending)
        _append_whole(self._path, data)
        self._pending.clear()
        self._pending_bytes = 0

    def tail(self, lines: int) -> list[str]:
        """Return the text of the last ``lines`` lines of the attempt's output, as evidence of a crash."""
        entries = [_parsed(line) for line in _last_lines(self._path)]
        output = [str(entry["event"]) for entry in entries if entry and entry.get("logger") == "sop.runner"]
        return output[-lines:]

    def _now(self) -> str:
        # Strictly rising: Airflow drops a line that equals the one before it, time included.
        self._last_time = max(datetime.now(UTC), self._last_time + _TICK)
        return self._last_time.isoformat()


def open_attempt_log(relative_path: str) -> AttemptLog:
    """Return the log of an attempt, its folders made with the permissions Airflow is configured for.

    A full disk may forbid even the folders; then they are made with the first line that can be written.

    :param relative_path: relative to Airflow's base log folder.
    """
    from airflow.configuration import conf
    from airflow.sdk.log import init_log_file

    try:
        return AttemptLog(Path(init_log_file(relative_path)))
    except OSError as error:
        log.warning("the log %s cannot be made yet: %s", relative_path, error)
        return AttemptLog(Path(conf.get_mandatory_value("logging", "base_log_folder"), relative_path))


def upload_attempt_log(relative_path: str) -> None:
    """Copy a finished log to the remote storage Airflow is configured for, if any.

    What goes wrong there is a warning, as it is for Airflow's own tasks: the local file stays.
    """
    from airflow.logging_config import get_remote_task_log

    remote = get_remote_task_log()
    if remote is None:
        return
    try:
        remote.upload(relative_path, None)
    except Exception:
        # Any storage client may stand behind it, each with its own errors.
        log.warning("the log %s could not be uploaded", relative_path, exc_info=True)


def _append_whole(path: Path, data: bytes) -> None:
    """Append all of ``data`` or nothing, so that a full disk never leaves half a line."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o664)
    try:
        size = os.fstat(descriptor).st_size
        written = 0
        try:
            while written < len(data):
                written += os.write(descriptor, data[written:])
        except OSError:
            with contextlib.suppress(OSError):  # the first failure is the one to report
                os.ftruncate(descriptor, size)
            raise
    finally:
        os.close(descriptor)


def _recover(path: Path) -> int:
    """Cut a half-written last line off and return the offset that the last complete one notes."""
    try:
        size = path.stat().st_size
    except FileNotFoundError:
        return 0
    if size == 0:
        return 0
    with path.open("r+b") as file:
        file.seek(max(0, size - _TAIL_BYTES))
        tail = file.read()
        complete = tail.rfind(b"\n") + 1
        if complete < len(tail):
            file.truncate(size - len(tail) + complete)
    for line in reversed(tail[:complete].splitlines()):
        entry = _parsed(line)
        match = _OFFSET.fullmatch(str(entry.get("loc", ""))) if entry else None
        if match:
            return int(match[1])
    return 0


def _last_lines(path: Path) -> list[bytes]:
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - _TAIL_BYTES))
            return file.read().splitlines()
    except OSError:
        return []


def _structured(line: str) -> dict[str, Any] | None:
    """Return a line that a runner wrote as a log entry, None for any other text."""
    entry = _parsed(line.encode()) if line.startswith("{") else None
    return entry if entry is not None and isinstance(entry.get("event"), str) else None


def _parsed(line: bytes) -> dict[str, Any] | None:
    try:
        entry = json.loads(line)
    except ValueError:
        return None
    return entry if isinstance(entry, dict) else None


def _encode(entry: dict[str, Any]) -> bytes:
    return json.dumps(entry, default=str).encode() + b"\n"
