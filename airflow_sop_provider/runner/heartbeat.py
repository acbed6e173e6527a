"""The heartbeat: proof that the attempt is alive, at least every 30 s.

An OS thread, started before anything slow is imported: a synchronous tool or model client
blocks an event loop, and a heartbeat on that loop would stop just when it is looked at.
"""

from __future__ import annotations

import threading
import time

from airflow_sop_provider.runner.lines import EventLog

__all__ = ["Heartbeat"]


class Heartbeat:
    """Emits ``heartbeat`` events until stopped.

    :param seconds: time between two of them.
    """

    def __init__(self, events: EventLog, seconds: float) -> None:
        self._events = events
        self._seconds = seconds
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="heartbeat", daemon=True)

    def start(self) -> None:
        """Start the thread; the first event comes after one interval."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread without waiting for it."""
        self._stopped.set()

    def _beat(self) -> None:
        started = time.monotonic()
        while not self._stopped.wait(self._seconds):
            self._events.emit("heartbeat", elapsed_seconds=round(time.monotonic() - started, 3))
