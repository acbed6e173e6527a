"""Requests that write to SQLite take turns in Airflow's API server.

SQLite has one write lock, and Airflow's API server is not made for that, in two ways:

- A request that has written needs the server's event loop to commit. Another one may wait for the lock on that very
  loop, to write its audit entry: neither gets on until the wait is given up, and a caller reads an error.
- The Execution API guards a task instance's state by row locks, which SQLite does not have. A call to start it that was
  late and has been repeated can set it running after it has succeeded; the scheduler then has it tried again.

Both need two requests that write at one time. One after the other, in the order in which they came, they do neither.
Other databases have row locks, and get no middleware.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

__all__ = ["SqliteTurns", "root_middlewares"]

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

_READING = frozenset({"GET", "HEAD", "OPTIONS"})
_WAIT_SECONDS = 60.0


class SqliteTurns:
    """ASGI middleware that lets one writing request into the application at a time, first come, first served.

    :param app: the application.
    :param wait_seconds: who has waited that long is told to come again (503).
    """

    def __init__(self, app: Application, *, wait_seconds: float = _WAIT_SECONDS) -> None:
        self._app = app
        self._wait_seconds = wait_seconds
        self._turn = asyncio.Lock()  # fair: whoever waits longest is next

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, a writing one in its turn."""
        if scope["type"] != "http" or scope["method"] in _READING:
            await self._app(scope, receive, send)
            return
        try:
            async with asyncio.timeout(self._wait_seconds):
                await self._turn.acquire()
        except TimeoutError:
            await _come_again(send, self._wait_seconds)
            return
        try:
            await self._app(scope, receive, send)
        finally:
            self._turn.release()


def root_middlewares(connection: str) -> list[dict[str, Any]]:
    """Return what a plugin gives Airflow as ``fastapi_root_middlewares``.

    :param connection: SQLAlchemy URL of the metadata database.
    """
    if not connection.startswith("sqlite"):
        return []
    return [{"name": "SQLite turns", "middleware": SqliteTurns, "args": [], "kwargs": {}}]


async def _come_again(send: Send, seconds: float) -> None:
    detail = (
        f"Waited {seconds:.0f} s behind other requests that write to SQLite. Call again; PostgreSQL has no such queue."
    )
    headers = [(b"content-type", b"application/json"), (b"retry-after", b"1")]
    await send({"type": "http.response.start", "status": 503, "headers": headers})
    await send({"type": "http.response.body", "body": json.dumps({"detail": detail}).encode()})
