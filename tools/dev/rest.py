"""The few calls of Airflow's public REST API that `make run` makes.

One client, one login; a token that has expired is renewed. Only what a person needs to follow an
execution: trigger, steps, outputs, import errors, the last words of a failed step.
"""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

import httpx

__all__ = ["AirflowApi", "ApiError", "DagState", "Health", "StepState"]

_TIMEOUT = httpx.Timeout(60.0, connect=5.0)
_PAGE = 100
_TRIES = 10

_Query = dict[str, str | int]


class ApiError(Exception):
    """The API server refused a call; the message says which and why."""


@dataclass(frozen=True)
class Health:
    """What `/monitor/health` says: component -> (status, time of the last heartbeat)."""

    components: dict[str, tuple[str | None, datetime | None]]

    def alive_since(self, name: str, moment: datetime) -> bool:
        """Return whether a component is healthy and has given a sign of life after ``moment``."""
        status, beat = self.components.get(name, (None, None))
        return status == "healthy" and (beat is None or beat >= moment)


@dataclass(frozen=True)
class DagState:
    """When the dag-processor last read an SOP, what it is called there, and whether its runs wait."""

    read_at: datetime | None
    paused: bool
    title: str
    stale: bool


@dataclass(frozen=True)
class StepState:
    """One task instance as a person follows it."""

    step: str
    map_index: int
    state: str
    attempt: int
    started: datetime | None
    ended: datetime | None

    @property
    def label(self) -> str:
        """The step's name, with its index in a ``for_each``."""
        return self.step if self.map_index < 0 else f"{self.step}[{self.map_index}]"


class AirflowApi:
    """The REST API of one Airflow, as one user.

    :param url: the server's address without a trailing slash.
    """

    def __init__(self, url: str, user: str, password: str) -> None:
        self._user, self._password = user, password
        self._client = httpx.Client(base_url=url, timeout=_TIMEOUT, trust_env=False)

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def health(self) -> Health | None:
        """Return the components' health, None while the server does not answer."""
        try:
            answer = self._client.get("/api/v2/monitor/health")
            body = answer.json() if answer.is_success else None
        except (httpx.TransportError, ValueError):
            return None
        if body is None:
            return None
        return Health({name: _health_of(name, part) for name, part in body.items() if isinstance(part, dict)})

    def dag(self, sop: str) -> DagState | None:
        """Return what is known of an SOP's DAG, None as long as there is none."""
        answer = self._send("GET", f"/api/v2/dags/{quote(sop)}", allow=(404,))
        if answer.status_code == 404:
            return None
        body = _object(answer)
        return DagState(
            read_at=_moment(body["last_parsed_time"]),
            paused=bool(body["is_paused"]),
            title=str(body["dag_display_name"]),
            stale=bool(body["is_stale"]),
        )

    def pause(self, sop: str) -> None:
        """Let the DAG's runs wait."""
        self._set_paused(sop, True)

    def unpause(self, sop: str) -> None:
        """Let the DAG's runs start."""
        self._set_paused(sop, False)

    def _set_paused(self, sop: str, paused: bool) -> None:
        self._send("PATCH", f"/api/v2/dags/{quote(sop)}", json={"is_paused": paused}, repeatable=True)

    def import_errors(self) -> list[dict[str, Any]]:
        """Return the SOPs that could not be loaded: ``filename`` and ``stack_trace`` of each."""
        return self._list("/api/v2/importErrors", "import_errors")

    def trigger(self, sop: str, conf: dict[str, Any]) -> str:
        """Start an execution now; return its run id.

        The id is made here: an answer that got lost on a busy machine is asked for again and starts nothing twice.

        :raises ApiError: the inputs do not fit the SOP, for example.
        """
        run = f"manual__{datetime.now(UTC).isoformat()}_{secrets.token_hex(4)}"
        body = {"dag_run_id": run, "logical_date": None, "conf": conf}
        path = f"/api/v2/dags/{quote(sop)}/dagRuns"
        answer = self._send("POST", path, allow=(409,), json=body, repeatable=True)
        # a conflict is our own call whose answer got lost, and then the execution is there
        if answer.status_code == 409 and self._send("GET", _run_path(sop, run), allow=(404,)).status_code == 404:
            raise ApiError(f"POST {path} answered 409: {_detail(answer)}")
        return run

    def cancel(self, sop: str, run: str) -> None:
        """Mark an execution as failed, as "Mark as failed" of the UI does; Airflow ends its running steps."""
        self._send("PATCH", _run_path(sop, run), json={"state": "failed"}, repeatable=True)

    def run_state(self, sop: str, run: str) -> str:
        """Return the state of an execution: queued, running, success or failed."""
        return str(_object(self._send("GET", _run_path(sop, run)))["state"])

    def steps(self, sop: str, run: str) -> list[StepState]:
        """Return every task instance of an execution."""
        return [_step_of(item) for item in self._list(f"{_run_path(sop, run)}/taskInstances", "task_instances")]

    def dependents(self, sop: str) -> dict[str, list[str]]:
        """Return, for each step of an SOP, the steps that need it."""
        tasks = _object(self._send("GET", f"/api/v2/dags/{quote(sop)}/tasks"))["tasks"]
        return {task["task_id"]: list(task["downstream_task_ids"] or ()) for task in tasks}

    def outputs(self, sop: str, run: str, step: str, map_index: int = -1) -> object:
        """Return what a step yielded, None when it yielded nothing."""
        path = f"{_run_path(sop, run)}/taskInstances/{quote(step)}/xcomEntries/return_value"
        query: _Query = {"map_index": map_index, "deserialize": "false", "stringify": "false"}
        answer = self._send("GET", path, params=query, allow=(404,))
        return None if answer.status_code == 404 else _object(answer)["value"]

    def log(self, sop: str, run: str, step: StepState) -> list[str]:
        """Return the lines of a step's log."""
        path = f"{_run_path(sop, run)}/taskInstances/{quote(step.step)}/logs/{max(step.attempt, 1)}"
        answer = self._send("GET", path, params={"map_index": step.map_index, "full_content": "true"}, allow=(404,))
        if answer.status_code == 404:
            return []
        content = _object(answer).get("content", [])
        return [str(line.get("event", line)) if isinstance(line, dict) else str(line) for line in content]

    def engine(self, path: str) -> bytes:
        """Return what the engine's API answers to a GET of ``path``, such as ``/audit/entries``."""
        return self._send("GET", f"/sop/api/v1{path}").content

    def _list(self, path: str, key: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        while True:
            body = _object(self._send("GET", path, params={"limit": _PAGE, "offset": len(found)}))
            found += body[key]
            if not body[key] or len(found) >= body["total_entries"]:
                return found

    def _send(
        self,
        method: str,
        path: str,
        *,
        allow: tuple[int, ...] = (),
        json: object = None,
        params: _Query | None = None,
        repeatable: bool = False,
    ) -> httpx.Response:
        answer = self._attempt(method, path, json=json, params=params, repeatable=repeatable)
        if answer.status_code == 401:
            self._login()
            answer = self._attempt(method, path, json=json, params=params, repeatable=repeatable)
        if not answer.is_success and answer.status_code not in allow:
            raise ApiError(f"{method} {path} answered {answer.status_code}: {_detail(answer)}")
        return answer

    def _attempt(
        self, method: str, path: str, *, json: object, params: _Query | None, repeatable: bool
    ) -> httpx.Response:
        """Send a call; what may be repeated is, for a while: a busy SQLite says 5xx, a busy server nothing in time."""
        tries = _TRIES if method == "GET" or repeatable else 1
        for remaining in reversed(range(tries)):
            try:
                answer = self._client.request(method, path, json=json, params=params)
            except httpx.TransportError as error:
                if not remaining:
                    raise ApiError(f"{method} {path} was not answered: {error or type(error).__name__}") from error
            else:
                if answer.status_code < 500 or not remaining:
                    return answer
            time.sleep(0.5)
        raise AssertionError("unreachable: the last try returns or raises")

    def _login(self) -> None:
        body = {"username": self._user, "password": self._password}
        answer = self._attempt("POST", "/auth/token", json=body, params=None, repeatable=True)
        if not answer.is_success:
            raise ApiError(f"login as {self._user} answered {answer.status_code}: {_detail(answer)}")
        self._client.headers["Authorization"] = f"Bearer {_object(answer)['access_token']}"


def _run_path(sop: str, run: str) -> str:
    return f"/api/v2/dags/{quote(sop)}/dagRuns/{quote(run, safe='')}"


def _health_of(name: str, part: dict[str, Any]) -> tuple[str | None, datetime | None]:
    return part.get("status"), _moment(part.get(f"latest_{name}_heartbeat"))


def _step_of(item: dict[str, Any]) -> StepState:
    return StepState(
        step=item["task_id"],
        map_index=item["map_index"],
        state=item["state"] or "waiting",
        attempt=item["try_number"],
        started=_moment(item["start_date"]),
        ended=_moment(item["end_date"]),
    )


def _moment(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None


def _object(answer: httpx.Response) -> dict[str, Any]:
    body = answer.json()
    if not isinstance(body, dict):
        raise ApiError(f"{answer.request.url.path} answered something that is no JSON object")
    return body


def _detail(answer: httpx.Response) -> str:
    try:
        detail = answer.json()["detail"]
    except (ValueError, KeyError, TypeError):
        return answer.reason_phrase
    if isinstance(detail, dict):
        return str(detail.get("message") or detail.get("reason") or detail)
    return str(detail)
