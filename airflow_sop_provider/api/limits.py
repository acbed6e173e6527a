"""How much of the engine one caller may ask for: requests in a minute, and bytes of a request.

A caller is a token (a user's or an attempt's), by its digest; without one it is the address. Counted in each process of
the API server, so several workers let that many times more through: it keeps a runaway script from taking everybody's
turn, it is no quota. Runners have limits of their own, as each attempt reports every second. The gateway to the MCP
servers, mounted beside, has its own (`fleet.rates`).
"""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Awaitable, Callable, MutableMapping
from http.cookies import SimpleCookie
from typing import Any

from fastapi import HTTPException, status

from airflow_sop_provider.airflow_settings import ApiLimits

__all__ = ["Limits"]

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

_MINUTE = 60.0
_COOKIE = "_token"
"""Where Airflow's UI keeps its token."""


class Limits:
    """ASGI middleware that answers 429 with Retry-After, and 413, before anything is looked up or parsed.

    :param app: the application.
    :param limits: gives the limits; asked at the first request, when Airflow's configuration is there.
    :param runner_prefix: path, below the mount, of the runners' endpoints.
    :param own: paths of mounts that have limits of their own.
    """

    def __init__(
        self, app: Application, *, limits: Callable[[], ApiLimits], runner_prefix: str, own: tuple[str, ...] = ()
    ) -> None:
        self._app = app
        self._read = limits
        self._limits: ApiLimits | None = None
        self._runner_prefix = runner_prefix
        self._own = own
        self._minutes = _Minutes()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, if it is within the limits."""
        path = str(scope.get("path", "")).removeprefix(scope.get("root_path", ""))
        if scope["type"] != "http" or path.startswith(self._own):
            await self._app(scope, receive, send)
            return
        limits = self._limits = self._limits or self._read()
        runner = path.startswith(self._runner_prefix)
        calls = limits.runner_calls_per_minute if runner else limits.calls_per_minute
        largest = limits.runner_body_bytes if runner else limits.body_bytes
        wait = self._minutes.wait(calls, _caller(scope))
        if wait is not None:
            detail = f"More than {calls} requests in a minute with one token; come again in {wait} s."
            await _refuse(send, status.HTTP_429_TOO_MANY_REQUESTS, detail, {"retry-after": str(wait)})
            return
        length = _headers(scope).get("content-length", "")
        if length.isdecimal() and int(length) > largest:
            await _refuse(send, status.HTTP_413_CONTENT_TOO_LARGE, _too_large(largest), {"connection": "close"})
            return
        await self._app(scope, _bounded(receive, largest), send)


class _Minutes:
    """Counts the requests of each caller in a minute that begins with their first one.

    Not `limits.storage.MemoryStorage`, whose timer walks through all callers a hundred times a second: with 4,000
    runners that was 0.37 ms of processor time for each request, a sixth of what a status query costs in all.
    """

    def __init__(self) -> None:
        self._began: dict[str, tuple[float, int]] = {}
        self._swept = 0.0

    def wait(self, calls: int, caller: str) -> int | None:
        """Count a request; return None if it may pass, else after how many seconds the caller may try again."""
        now = time.time()
        if not 0 <= now - self._swept < _MINUTE:
            self._began = {who: one for who, one in self._began.items() if 0 <= now - one[0] < _MINUTE}
            self._swept = now
        began, count = self._began.get(caller, (now, 0))
        if not 0 <= now - began < _MINUTE:  # also after the clock was set back
            began, count = now, 0
        self._began[caller] = began, count + 1
        return None if count < calls else max(1, math.ceil(began + _MINUTE - now))


def _bounded(receive: Receive, largest: int) -> Receive:
    """Count what comes: a body need not say its size beforehand."""
    seen = 0

    async def counted() -> Message:
        nonlocal seen
        message = await receive()
        seen += len(message.get("body", b""))
        if seen > largest:
            raise HTTPException(status.HTTP_413_CONTENT_TOO_LARGE, _too_large(largest))
        return message

    return counted


def _too_large(largest: int) -> str:
    return f"The body may have {largest} bytes."


def _headers(scope: Scope) -> dict[str, str]:
    return {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}


def _caller(scope: Scope) -> str:
    headers = _headers(scope)
    token = headers.get("authorization")
    if token is None and _COOKIE in headers.get("cookie", ""):
        morsel = SimpleCookie(headers["cookie"]).get(_COOKIE)
        token = None if morsel is None else morsel.value
    if token is not None:
        return hashlib.sha256(token.encode()).hexdigest()
    client = scope.get("client")
    return f"address {client[0]}" if client else "nobody"


async def _refuse(send: Send, code: int, detail: str, headers: dict[str, str]) -> None:
    listed = [(b"content-type", b"application/json"), *((k.encode(), v.encode()) for k, v in headers.items())]
    await send({"type": "http.response.start", "status": code, "headers": listed})
    await send({"type": "http.response.body", "body": json.dumps({"detail": detail}).encode()})
