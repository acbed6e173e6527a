"""Cases as executions of an Airflow, over its public REST API.

A case's run id follows from the run's token and the case, and starting an execution that is there already is no
error: a run that was interrupted finds the executions it had started and starts none twice.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any
from urllib.parse import quote

import httpx

from airflow_sop_provider.engine.execution_state import ExecutionResult, ExecutionState, TaskState
from airflow_sop_provider.evals.models import Case
from airflow_sop_provider.evals.trace import Trace
from airflow_sop_provider.sop import LoadedSop

__all__ = ["AirflowError", "OnAirflow"]

_PAGE = 100
_TRIES = 10
_RAN = frozenset({"succeeded", "failed"})


class AirflowError(RuntimeError):
    """The Airflow refused a call or did not answer; the message says which."""


class OnAirflow:
    """Executes cases on an Airflow, several at a time.

    :param client: of the API server, with its base URL.
    :param token: identity of the run, part of every run id.
    :param poll_seconds: between two looks at an execution.
    :param at_once: executions started ahead.
    """

    def __init__(
        self, loaded: LoadedSop, client: httpx.Client, user: str, password: str, token: str,
        cases: Iterable[Case] = (), *, poll_seconds: float = 1.0, at_once: int = 8,
    ) -> None:  # fmt: skip
        self._loaded = loaded
        self._client = client
        self._login = {"username": user, "password": password}
        self._token = token
        self._ahead = list(cases)
        self._poll_seconds = poll_seconds
        self._at_once = at_once

    def execute(self, case: Case) -> Trace:
        """Start a case, and those that come next; wait for it; see `CaseExecutor`.

        :raises AirflowError: a call failed.
        """
        started = time.monotonic()
        ids = [one.id for one in self._ahead]
        position = ids.index(case.id) if case.id in ids else 0
        self._ahead = self._ahead[position:]
        for one in self._ahead[: self._at_once] or [case]:
            self._start(one)
        run = self._run_id(case)
        while str(self._call("GET", self._path(run)).json()["state"]) not in ("success", "failed"):
            time.sleep(self._poll_seconds)
        return self._trace(run, time.monotonic() - started)

    def _start(self, case: Case) -> None:
        body = {"dag_run_id": self._run_id(case), "logical_date": None, "conf": case.inputs}
        self._call("POST", f"/api/v2/dags/{quote(self._loaded.sop.sop)}/dagRuns", json=body, allow=(409,))

    def _run_id(self, case: Case) -> str:
        return f"eval__{self._token}__{case.id}"

    def _path(self, run: str) -> str:
        return f"/api/v2/dags/{quote(self._loaded.sop.sop)}/dagRuns/{quote(run, safe='')}"

    def _trace(self, run: str, seconds: float) -> Trace:
        graph = self._loaded.graph
        items = list(self._tasks(run))
        tasks = [TaskState(item["task_id"], item["state"], item["map_index"]) for item in items]
        outputs: dict[str, Any] = {}
        for step in graph.step_ids:
            found = [self._output(run, task) for task in tasks if task.task_id == step and task.state == "success"]
            values = [value for value in found if value is not None]
            if values:
                outputs[step] = values if self._loaded.sop.step(step).for_each is not None else values[0]
        result = ExecutionResult.of(graph, tasks, outputs)
        states = ExecutionState.of(graph, tasks).states
        called = [step.tool for step in self._loaded.sop.steps if step.tool and states[step.id] in _RAN]
        failures = dict.fromkeys(result.failed, "failed; its log in Airflow says why")
        return Trace(status=result.status, states=states, outputs=result.outputs, tools=tuple(called),
                     failures=failures, seconds=seconds, execution=run)  # fmt: skip

    def _tasks(self, run: str) -> Iterable[dict[str, Any]]:
        offset = 0
        while True:
            query = {"limit": _PAGE, "offset": offset}
            body = self._call("GET", f"{self._path(run)}/taskInstances", params=query).json()
            yield from body["task_instances"]
            offset += len(body["task_instances"])
            if not body["task_instances"] or offset >= body["total_entries"]:
                return

    def _output(self, run: str, task: TaskState) -> Any:
        path = f"{self._path(run)}/taskInstances/{quote(task.task_id)}/xcomEntries/return_value"
        query = {"map_index": task.map_index, "deserialize": "false", "stringify": "false"}
        answer = self._call("GET", path, params=query, allow=(404,))
        return None if answer.status_code == 404 else answer.json()["value"]

    def _call(self, method: str, path: str, *, allow: tuple[int, ...] = (), **arguments: Any) -> httpx.Response:
        """Send a call; each may be repeated, since a run's id is ours."""
        for remaining in reversed(range(_TRIES)):
            try:
                answer = self._client.request(method, path, **arguments)
                if answer.status_code == 401 and path != "/auth/token" and remaining:
                    self._renew()
                    continue
            except httpx.TransportError as error:
                if not remaining:
                    message = f"{method} {path} was not answered: {error or type(error).__name__}"
                    raise AirflowError(message) from error
            else:
                if answer.is_success or answer.status_code in allow:
                    return answer
                if answer.status_code < 500 or not remaining:
                    raise AirflowError(f"{method} {path} answered {answer.status_code}: {answer.text[:300]}")
            time.sleep(0.5)
        raise AssertionError("unreachable: the last try returns or raises")

    def _renew(self) -> None:
        answer = self._client.post("/auth/token", json=self._login)
        if not answer.is_success:
            user = self._login["username"]
            raise AirflowError(f"Airflow refuses the login of {user!r} with {answer.status_code}.")
        self._client.headers["Authorization"] = f"Bearer {answer.json()['access_token']}"
