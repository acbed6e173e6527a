"""`ExecutionCoordinator`: submit executions, follow them, cancel them, take their results.

A call whose answer got lost is sent again where that is safe, which a submission is by its idempotency key.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from types import TracebackType
from typing import Any, Self
from uuid import uuid4

import httpx

from airflow_sop_provider.client import calls, queries
from airflow_sop_provider.client.calls import Call, EngineError, ExecutionStatus
from airflow_sop_provider.client.following import follow

__all__ = ["AsyncExecutionCoordinator", "ExecutionCoordinator"]

_TIMEOUT = httpx.Timeout(60.0, connect=5.0)
_TRIES = 4
_POLL_SECONDS = 1.0
_REFUSED_FOR_NOW = frozenset({429})
"""Nothing was done, whatever was asked."""
_RESTART_SECONDS = 300.0
_AGAIN = frozenset({502, 503, 504}) | _REFUSED_FOR_NOW
_LONGEST_WAIT = 60.0


class ExecutionCoordinator:
    """The engine of one Airflow, as one user.

    :param url: address of Airflow's API server.
    :param token: bearer token of Airflow's API.
    :param user: instead of a token: name and ``password``, exchanged for one.
    """

    def __init__(
        self, url: str, *, token: str | None = None, user: str | None = None, password: str | None = None
    ) -> None:
        self._client = httpx.Client(base_url=url.rstrip("/"), timeout=_TIMEOUT)
        self._login = None if user is None else {"username": user, "password": password}
        if token is not None:
            self._client.headers["Authorization"] = f"Bearer {token}"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def submit_execution(
        self,
        sop: str,
        inputs: Mapping[str, Any] | None = None,
        *,
        execution_mode: str = "auto",
        priority: str | None = None,
        schedule: Mapping[str, Any] | None = None,
        idempotency_key: str | None = None,
    ) -> str:
        """Start an execution and return its id, ``sop/run_id``.

        :param execution_mode: the mode that is counted on; another one than the SOP's is refused.
        :param schedule: ``not_before`` (a moment with time zone) and ``batch`` (a name), both optional.
        :param idempotency_key: the same key again gives the same execution; one of its own if left out.
        :raises RefusedError: unknown or paused SOP, another mode, inputs that do not fit; nothing was created.
        :raises NotAllowedError: the user may not.
        """
        key = idempotency_key or uuid4().hex
        made = self._send(calls.submit_call(sop, inputs, execution_mode, priority, schedule, key))
        return f"{made['sop']}/{made['run_id']}"

    def get_execution_status(self, execution: str) -> ExecutionStatus:
        """Return where an execution stands.

        :raises RefusedError: there is none of that id.
        """
        return calls.status_of(self._send(calls.status_call(execution)))

    def cancel_execution(self, execution: str, reason: str | None = None) -> None:
        """Cancel an execution.

        :raises RefusedError: it is over.
        """
        self._send(calls.cancel_call(execution, reason))

    def wait(
        self, execution: str, *, timeout: float | None = None, poll_seconds: float = _POLL_SECONDS
    ) -> ExecutionStatus:
        """Return once an execution is over; a server that restarts meanwhile is waited for, five minutes at most.

        :param timeout: seconds; None for as long as it takes.
        :raises TimeoutError: it is not over by then; it goes on.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        now = self.get_execution_status(execution)  # who cannot be asked at all is an error at once
        while not now.is_final:
            if deadline is not None and time.monotonic() >= deadline:
                raise TimeoutError(f"{execution} is {now.status} after {timeout:g} s")
            time.sleep(poll_seconds)
            now = self.status_after_restarts(execution)
        return now

    def status_after_restarts(self, execution: str) -> ExecutionStatus:
        """Return where an execution stands, as soon as a server that is away answers again; five minutes at most."""
        gives_up = time.monotonic() + _RESTART_SECONDS
        while True:
            try:
                return self.get_execution_status(execution)
            except EngineError as error:
                refused = error.status is not None and error.status not in _AGAIN
                if refused or time.monotonic() >= gives_up:
                    raise
                time.sleep(_POLL_SECONDS)

    def follow(self, execution: str) -> Iterator[ExecutionStatus]:
        """Yield where an execution stands, now and at every change, up to its end; see `client.following.follow`."""
        path = queries.events_path(execution)
        return follow(lambda: self._stream(path), time.sleep)

    def result(self, execution: str) -> dict[str, Any]:
        """Return an execution with its context, attempts and (once it is over) result."""
        found: dict[str, Any] = self._send(calls.execution_call(execution))
        return found

    def export(self, execution: str) -> bytes:
        """Return everything of an execution as one archive (zip), which `sop audit verify` verifies anywhere."""
        archive: bytes = self._send(calls.export_call(execution))
        return archive

    def mode(self, sop: str) -> dict[str, Any]:
        """Return the mode of a control, why it is that, and how it was changed."""
        found: dict[str, Any] = self._send(calls.mode_call(sop))
        return found

    def change_mode(self, sop: str, mode: str, reason: str | None = None) -> dict[str, Any]:
        """Change the mode of a control for the executions that follow.

        :raises RefusedError: its steps do not allow that mode, each reason is named; nothing was changed.
        """
        found: dict[str, Any] = self._send(calls.change_mode_call(sop, mode, reason))
        return found

    def approvals(self, **filters: Any) -> dict[str, Any]:
        """Return a page of approvals: ``approvals`` and ``next_before``; see the API for the filters."""
        page: dict[str, Any] = self._send(calls.approvals_call(filters))
        return page

    def answer(
        self, sop: str, approval: int, choice: str, *, comment: str | None = None, meaning: str | None = None
    ) -> dict[str, Any]:
        """Answer an approval as the user of this client, and return it as it stands then.

        :param choice: ``approved`` or ``rejected``.
        :param meaning: what the signature states; what the SOP says if left out.
        :raises NotAllowedError: the user's answer does not count; the message says why.
        :raises RefusedError: no answer counts any more, or what it is about has changed.
        """
        found: dict[str, Any] = self._send(calls.answer_call(sop, approval, choice, comment, meaning))
        return found

    def list_executions(self, **filters: Any) -> dict[str, Any]:
        """Return a page of executions: ``executions`` and ``next_cursor``; see the API for the filters."""
        page: dict[str, Any] = self._send(calls.list_call(filters))
        return page

    def metrics(self, since: datetime | None = None, until: datetime | None = None) -> dict[str, Any]:
        """Return the figures of a window of time; of the last 24 hours if nothing is given."""
        found: dict[str, Any] = self._send(queries.metrics_call(since, until))
        return found

    def audit_entries(self, **filters: Any) -> dict[str, Any]:
        """Return a page of audit entries: ``entries`` and ``cursor``; see the API for the filters."""
        page: dict[str, Any] = self._send(queries.audit_call(filters))
        return page

    def log(self, execution: str, step: str, attempt: int = 1, *, map_index: int = -1) -> list[dict[str, Any]]:
        """Return the log of an attempt as it is now: objects with ``event`` and, mostly, ``timestamp`` and ``level``.

        :param map_index: number of the item, of a step with ``for_each``.
        :raises RefusedError: there is no such attempt.
        """
        found: list[dict[str, Any]] = self._send(queries.log_call(execution, step, attempt, map_index))["content"]
        return found

    def validate_tools(self, sop: str, servers: Mapping[str, Sequence[str]]) -> dict[str, Any]:
        """Take the tools of an SOP as they are now: later changes are refused. Return their digests by server and name.

        :param servers: names of tools by server.
        """
        digests: dict[str, Any] = self._send(calls.snapshot_call(sop, servers))
        return digests

    @contextmanager
    def _stream(self, path: str) -> Iterator[httpx.Response]:
        self._known()
        with self._client.stream("GET", path, headers={"Accept": "text/event-stream"}) as answer:
            expired = answer.status_code == 401 and self._login is not None
            if not expired:
                yield answer
        if expired:
            self._sign_in()
            with self._client.stream("GET", path, headers={"Accept": "text/event-stream"}) as answer:
                yield answer

    def _known(self) -> None:
        if self._login is not None and "Authorization" not in self._client.headers:
            self._sign_in()

    def _send(self, call: Call) -> Any:
        self._known()
        answer = self._tried(call)
        if answer.status_code == 401 and self._login is not None:  # the token has expired
            self._sign_in()
            answer = self._tried(call)
        return calls.checked(answer)

    def _sign_in(self) -> None:
        made = calls.checked(self._tried(Call(method="POST", path="/auth/token", json=self._login)))
        self._client.headers["Authorization"] = f"Bearer {made['access_token']}"

    def _tried(self, call: Call) -> httpx.Response:
        for attempt in range(_TRIES):
            last = attempt == _TRIES - 1 or not call.repeatable
            wait = 2.0**attempt
            try:
                answer = self._client.request(**_arguments(call))
            except httpx.TransportError as error:
                if last:
                    raise EngineError(f"{self._client.base_url} does not answer: {error}") from error
            else:
                if attempt == _TRIES - 1 or answer.status_code not in (_AGAIN if call.repeatable else _REFUSED_FOR_NOW):
                    return answer
                wait = max(wait, _told_to_wait(answer))
            time.sleep(wait)
        raise AssertionError("unreachable")


class AsyncExecutionCoordinator:
    """The same calls for programs with an event loop; each waits in a thread of its own.

    One client serves both, so that both behave alike to the letter; a program that follows thousands of executions
    asks for lists, not for each one.

    :param coordinator: who makes the calls; closed with this object.
    """

    def __init__(self, coordinator: ExecutionCoordinator) -> None:
        self._coordinator = coordinator

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await asyncio.to_thread(self._coordinator.close)

    async def submit_execution(self, sop: str, inputs: Mapping[str, Any] | None = None, **options: Any) -> str:
        """See `ExecutionCoordinator.submit_execution`."""
        return await asyncio.to_thread(self._coordinator.submit_execution, sop, inputs, **options)

    async def get_execution_status(self, execution: str) -> ExecutionStatus:
        """See `ExecutionCoordinator.get_execution_status`."""
        return await asyncio.to_thread(self._coordinator.get_execution_status, execution)

    async def cancel_execution(self, execution: str, reason: str | None = None) -> None:
        """See `ExecutionCoordinator.cancel_execution`."""
        await asyncio.to_thread(self._coordinator.cancel_execution, execution, reason)

    async def wait(self, execution: str, *, poll_seconds: float = _POLL_SECONDS) -> ExecutionStatus:
        """Return once an execution is over; cancel or time it as any other task."""
        now = await self.get_execution_status(execution)
        while not now.is_final:
            await asyncio.sleep(poll_seconds)
            now = await asyncio.to_thread(self._coordinator.status_after_restarts, execution)
        return now

    async def result(self, execution: str) -> dict[str, Any]:
        """See `ExecutionCoordinator.result`."""
        return await asyncio.to_thread(self._coordinator.result, execution)


def _told_to_wait(answer: httpx.Response) -> float:
    said = answer.headers.get("Retry-After", "")
    return min(float(said), _LONGEST_WAIT) if said.isdecimal() else 0.0


def _arguments(call: Call) -> dict[str, Any]:
    return {
        "method": call.method,
        "url": call.path,
        "json": call.json,
        "params": call.params,
        "headers": call.headers,
    }
