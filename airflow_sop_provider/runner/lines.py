"""JSON lines: the runner's log on standard output and its event file.

Each line is one ``write`` to a file opened for appending, so lines of threads never mix and no
lock is needed, which also makes them safe in a signal handler. A full disk or a closed pipe must
not fail a step that otherwise works: what cannot be written is dropped, and a line cut by a full
disk is ended before the next one.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from airflow_sop_provider.audit.event_lines import HEARTBEAT, NO_SEQ
from airflow_sop_provider.runner.pending_events import PendingEvent, PendingEvents

__all__ = ["EVENT_LIMIT", "EventLog", "Log", "Redactor", "utc_now"]

EVENT_LIMIT = 64 * 1024
"""Bytes of one event; of a larger one a digest stands for what does not fit."""

_END = "attempt.end"
_SHORT_TEXT = 1000
_SHORTEST_SECRET = 4
"""Values shorter than this are not blotted out: they would hit ordinary text."""


def utc_now() -> str:
    """Return the time in ISO 8601, UTC, microseconds."""
    return datetime.now(UTC).isoformat()


class Redactor:
    """Blots out values that came from the runner's environment (credentials of the fleet)."""

    def __init__(self) -> None:
        self._secrets: list[str] = []

    def add(self, *values: str) -> None:
        """Never let ``values`` appear in a log line, an event or an error message again."""
        self._secrets += [value for value in values if len(value) >= _SHORTEST_SECRET]

    def clean(self, value: Any) -> Any:
        """Return a JSON value without secrets in any of its texts."""
        if not self._secrets:
            return value
        if isinstance(value, str):
            for secret in self._secrets:
                value = value.replace(secret, "***")
            return value
        if isinstance(value, dict):
            return {key: self.clean(item) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [self.clean(item) for item in value]
        return value


class _Lines:
    def __init__(self, descriptor: int | None, redactor: Redactor) -> None:
        self._descriptor = descriptor
        self._redactor = redactor
        self._cut = False

    def write(self, record: dict[str, Any]) -> bool:
        """Write one line; False if it was dropped or cut."""
        return self._descriptor is not None and self.append(self.encode(record))

    def encode(self, record: dict[str, Any]) -> bytes:
        """Return a record's line without secrets and without its end."""
        return json.dumps(self._redactor.clean(record), default=str).encode()

    def append(self, text: bytes) -> bool:
        """Write one encoded line; False if it was dropped or cut."""
        if self._descriptor is None:
            return False
        line = text + b"\n"
        data = b"\n" + line if self._cut else line
        try:
            written = os.write(self._descriptor, data)
        except OSError:
            return False
        self._cut = 0 < written < len(data)
        return written == len(data)


class Log(_Lines):
    """The log on standard output, in the form Airflow's UI shows."""

    def __init__(self, redactor: Redactor, descriptor: int = 1) -> None:
        super().__init__(descriptor, redactor)

    def info(self, text: str, **fields: Any) -> None:
        """Write a line of level info."""
        self.line("info", text, **fields)

    def raw(self, line: str) -> None:
        """Write a line of another form than the log's, whole even through a pipe."""
        data = (b"\n" if self._cut else b"") + line.encode() + b"\n"
        try:
            while data:
                data = data[os.write(self._descriptor or 1, data) :]
        except OSError:
            self._cut = True

    def line(self, level: str, text: str, **fields: Any) -> None:
        """Write a line: ``timestamp``, ``level``, ``event`` and ``fields``."""
        self.write({"timestamp": utc_now(), "level": level, "event": text, **fields})


class EventLog(_Lines):
    """The attempt's events, for the audit log; every event carries the attempt's identity and its number.

    Each goes to the file, if there is one, and stays pending until the engine has it: `PendingEvents`.

    :param path: file to append to, None: to none.
    :param identity: ``execution``, ``step``, ``map_index``, ``attempt``.
    """

    def __init__(self, path: Path | None, redactor: Redactor, identity: dict[str, Any]) -> None:
        super().__init__(_open(path), redactor)
        self._identity = identity
        self._numbers = itertools.count(1)  # one piece of CPython, so the handler of SIGTERM may interrupt it
        self.pending = PendingEvents()
        self.dropped = 0

    def emit(self, event: str, **fields: Any) -> None:
        """Append one event with the time it happened.

        Only an event for which memory has room gets a number, as the engine waits for one that is missing.
        """
        record = {"seq": NO_SEQ, "time": utc_now(), "event": event, **self._identity, **fields}
        text = self.encode(record)
        if len(text) > EVENT_LIMIT:
            record = _bounded(record, text)
            text = self.encode(record)
        if event == HEARTBEAT:
            self.pending.heartbeat = text
        elif event == _END or self.pending.has_room(len(text)):
            seq = next(self._numbers)
            text = self.encode({**record, "seq": seq})
            self.pending.add(PendingEvent(seq, text))
        else:
            self.dropped += 1
        self.append(text)


def _bounded(record: dict[str, Any], text: bytes) -> dict[str, Any]:
    """Return a record that is too large without its large fields, and what shows later that they were these."""
    small = {name: value for name, value in record.items() if not isinstance(value, str | list | tuple | dict)}
    names = ("time", "event", "execution", "step", "action", "tool", "server", "choice", "message")
    texts = {name: record[name][:_SHORT_TEXT] for name in names if isinstance(record.get(name), str)}
    return {**small, **texts, "dropped_bytes": len(text), "dropped_sha256": hashlib.sha256(text).hexdigest()}


def _open(path: Path | None) -> int | None:
    if path is None:
        return None
    try:
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    except OSError:
        return None
