"""Stopping an agent: SIGTERM ends it between two events, so that connections are closed and nothing is half written.

The handler that was there before reports and ends the process. It is called once the agent has stopped, or after a
moment if it does not: a model client that blocks the event loop must not keep a container alive.
"""

from __future__ import annotations

import asyncio
import signal
import threading
from types import FrameType, TracebackType
from typing import Any

__all__ = ["GRACE_SECONDS", "Stop"]

GRACE_SECONDS = 1.0
"""Seconds in which an agent may end by itself."""


class Stop:
    """Takes SIGTERM while an agent runs; to be entered in the event loop, in the process's main thread or not."""

    def __init__(self) -> None:
        self.signal = asyncio.Event()
        self._asked = False
        self._before: Any = None
        self._loop = asyncio.get_running_loop()

    def __enter__(self) -> Stop:
        if threading.current_thread() is threading.main_thread():
            self._before = signal.signal(signal.SIGTERM, self._ask)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._before is not None:
            signal.signal(signal.SIGTERM, self._before)

    def raise_if_asked(self) -> None:
        """Hand over to the handler that ends the process, if the agent was stopped."""
        if self._asked and callable(self._before):
            self._before(signal.SIGTERM, None)

    def _ask(self, number: int, frame: FrameType | None) -> None:
        if self._asked:
            return
        self._asked = True
        self._loop.call_soon_threadsafe(self.signal.set)
        if callable(self._before):
            timer = threading.Timer(GRACE_SECONDS, self._before, (number, frame))
            timer.daemon = True
            timer.start()
