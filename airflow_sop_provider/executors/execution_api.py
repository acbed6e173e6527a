"""An asynchronous client for the part of Airflow's Execution API that an executor of steps needs.

Airflow's own client is synchronous, one token and one connection per task process; here one
connection pool serves thousands of attempts. The API is versioned by a header, so these few calls
stay valid over releases; `tests/executors/test_contract_execution_api.py` checks the bodies against
the models of the installed server.

Transport errors and 5xx answers are retried until the server is back: while the API server
restarts, attempts go on and their results wait.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

import httpx

from airflow_sop_provider.executors.messages import Identity

__all__ = ["ExecutionApi", "Superseded", "UnexpectedAnswer"]

log = logging.getLogger(__name__)

API_VERSION = "2026-06-30"
"""Version of the Execution API these calls are written for (Airflow 3.3)."""

_FIRST_WAIT_SECONDS = 0.2
_LONGEST_WAIT_SECONDS = 5.0
_TIMEOUT = httpx.Timeout(30.0, connect=10.0)


class Superseded(Exception):
    """The task instance is no longer this attempt's to report: it was ended, cleared or deleted in Airflow.

    :param state: the state found, None if the task instance is gone.
    """

    def __init__(self, state: str | None) -> None:
        super().__init__(f"the task instance is {state or 'gone'} in Airflow")
        self.state = state


class UnexpectedAnswer(Exception):
    """The API server refused a call in a way that trying again cannot mend."""


class ExecutionApi:
    """Calls on behalf of task instances.

    :param base_url: for example ``http://localhost:8080/execution/``.
    :param make_token: returns a fresh token for a task instance id.
    :param concurrency: calls under way at once; a server's connection pool is small, more only queue there.
    """

    def __init__(self, base_url: str, make_token: Callable[[str], str], *, concurrency: int = 10) -> None:
        self._client = httpx.AsyncClient(
            base_url=base_url.rstrip("/") + "/",
            headers={"airflow-api-version": API_VERSION, "user-agent": "airflow-sop-provider"},
            timeout=_TIMEOUT,
            limits=httpx.Limits(max_connections=concurrency, max_keepalive_connections=concurrency),
        )
        self._make_token = make_token
        self._slots = asyncio.Semaphore(concurrency)

    async def close(self) -> None:
        """Close all connections."""
        await self._client.aclose()

    async def wait_until_ready(self) -> None:
        """Return once the server has answered: its first answer may take ten seconds."""
        await self._request("GET", "health", task_instance_id=None)

    async def start(self, task_instance_id: str, identity: Identity) -> dict[str, Any]:
        """Set the task instance running and return its context (``dag_run``, ``max_tries``, ...).

        Idempotent for one identity.

        :raises Superseded: if it is not queued any more and not running under this identity.
        """
        body = {"state": "running", **identity.model_dump(), "start_date": _now()}
        answer = await self._request("PATCH", f"task-instances/{task_instance_id}/run", task_instance_id, body)
        context: dict[str, Any] = answer.json()
        return context

    async def set_xcom(
        self,
        task_instance_id: str,
        *,
        dag_id: str,
        run_id: str,
        task_id: str,
        map_index: int,
        key: str,
        value: Any,
        mapped_length: int | None = None,
    ) -> None:
        """Store a JSON value as XCom; ``mapped_length`` is what a later task expands over."""
        params = {"map_index": map_index} if map_index >= 0 else {}
        if mapped_length is not None:
            params["mapped_length"] = mapped_length
        path = "/".join(quote(part, safe="") for part in (dag_id, run_id, task_id, key))
        await self._request("POST", f"xcoms/{path}", task_instance_id, value, params=params)

    async def succeed(self, task_instance_id: str) -> None:
        """Set the task instance to success."""
        await self._set_state(task_instance_id, {"state": "success", "task_outlets": [], "outlet_events": []})

    async def fail(self, task_instance_id: str) -> None:
        """Set the task instance to failed, whatever tries it has left."""
        await self._set_state(task_instance_id, {"state": "failed"})

    async def skip(self, task_instance_id: str) -> None:
        """Set the task instance to skipped."""
        await self._set_state(task_instance_id, {"state": "skipped"})

    async def retry(self, task_instance_id: str, *, delay_seconds: float, reason: str) -> None:
        """Have the task instance tried again after exactly ``delay_seconds``; the reason shows in the UI."""
        body = {"state": "up_for_retry", "retry_delay_seconds": delay_seconds, "retry_reason": reason[:500]}
        await self._set_state(task_instance_id, body)

    async def await_input(self, task_instance_id: str, *, timeout_seconds: float | None) -> None:
        """Park the task instance until people have answered its request, or until the time is over.

        It then comes back to the executor's queue, as a task that goes on with ``execute_complete``.
        """
        body: dict[str, Any] = {"state": "awaiting_input", "next_method": "execute_complete"}
        if timeout_seconds is not None:
            body["timeout"] = timeout_seconds
        await self._request("PATCH", f"task-instances/{task_instance_id}/state", task_instance_id, body)

    async def _set_state(self, task_instance_id: str, body: dict[str, Any]) -> None:
        body["end_date"] = _now()
        await self._request("PATCH", f"task-instances/{task_instance_id}/state", task_instance_id, body)

    async def _request(
        self,
        method: str,
        path: str,
        task_instance_id: str | None,
        body: Any = None,
        params: dict[str, int] | None = None,
    ) -> httpx.Response:
        wait = _FIRST_WAIT_SECONDS
        while True:
            try:
                async with self._slots:
                    answer = await self._send(method, path, task_instance_id, body, params)
                if answer.status_code < 500 and answer.status_code != 429:
                    return _checked(answer)
                reason = f"HTTP {answer.status_code}"
            except httpx.TransportError as error:
                reason = f"{type(error).__name__}: {error}"
            log.warning("API server: %s %s: %s; trying again in %.1f s", method, path, reason, wait)
            await asyncio.sleep(wait)
            wait = min(wait * 2, _LONGEST_WAIT_SECONDS)

    async def _send(
        self, method: str, path: str, task_instance_id: str | None, body: Any, params: dict[str, int] | None
    ) -> httpx.Response:
        headers = {}
        if task_instance_id is not None:
            headers["authorization"] = f"Bearer {self._make_token(task_instance_id)}"
        if method == "GET":
            return await self._client.request(method, path, headers=headers)
        return await self._client.request(method, path, headers=headers, params=params, json=body)


def _checked(answer: httpx.Response) -> httpx.Response:
    if answer.is_success:
        return answer
    if answer.status_code in (404, 409, 410):
        raise Superseded(_previous_state(answer))
    raise UnexpectedAnswer(
        f"{answer.request.method} {answer.request.url.path}: HTTP {answer.status_code} {answer.text[:500]}"
    )


def _previous_state(answer: httpx.Response) -> str | None:
    try:
        detail = answer.json().get("detail")
    except ValueError:
        return None
    return detail.get("previous_state") if isinstance(detail, dict) else None


def _now() -> str:
    return datetime.now(UTC).isoformat()
