"""Our calls of the Execution API fit the installed server: paths, bodies, version, errors.

The bodies are sent through the real client and validated by the server's own models; a release of
Airflow that changes them fails here before it fails in production.
"""

import json
from collections.abc import Awaitable, Callable
from uuid import UUID, uuid4

import httpx
import pytest
from airflow.api_fastapi.execution_api.app import create_task_execution_api_app
from airflow.api_fastapi.execution_api.datamodels.taskinstance import (
    TIEnterRunningPayload,
    TIRetryStatePayload,
    TISuccessStatePayload,
    TITerminalStatePayload,
)
from airflow.api_fastapi.execution_api.routes import execution_api_router
from fastapi.routing import APIRoute

from airflow_sop_provider.executors import execution_api
from airflow_sop_provider.executors.execution_api import API_VERSION, ExecutionApi, Superseded, UnexpectedAnswer
from airflow_sop_provider.executors.messages import Identity

TI = str(uuid4())
IDENTITY = Identity(hostname="host", unixname="user", pid=42)


class Server:
    """Answers in order and keeps what it was asked; the transport only, everything above it is real."""

    def __init__(self, *answers: httpx.Response | Exception) -> None:
        self.answers = list(answers)
        self.requests: list[httpx.Request] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        answer = self.answers.pop(0) if self.answers else httpx.Response(204)
        if isinstance(answer, Exception):
            raise answer
        return answer


async def _call(server: Server, call: Callable[[ExecutionApi], Awaitable[object]]) -> object:
    api = ExecutionApi("http://server/execution/", lambda ti: f"token-of-{ti}")
    api._client._transport = httpx.MockTransport(server)
    try:
        return await call(api)
    finally:
        await api.close()


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(execution_api, "_FIRST_WAIT_SECONDS", 0.001)


async def test_start_is_what_the_server_expects() -> None:
    server = Server(httpx.Response(200, json={"max_tries": 3}))
    context = await _call(server, lambda api: api.start(TI, IDENTITY))
    request = server.requests[0]
    assert context == {"max_tries": 3}
    assert request.url.path == f"/execution/task-instances/{TI}/run"
    assert request.headers["authorization"] == f"Bearer token-of-{TI}"
    assert request.headers["airflow-api-version"] == API_VERSION
    payload = TIEnterRunningPayload.model_validate_json(request.content)
    assert (payload.hostname, payload.unixname, payload.pid) == ("host", "user", 42)


@pytest.mark.parametrize(
    ("call", "model", "state"),
    [
        (lambda api: api.succeed(TI), TISuccessStatePayload, "success"),
        (lambda api: api.fail(TI), TITerminalStatePayload, "failed"),
        (lambda api: api.skip(TI), TITerminalStatePayload, "skipped"),
        (lambda api: api.retry(TI, delay_seconds=2, reason="r" * 900), TIRetryStatePayload, "up_for_retry"),
    ],
)
async def test_states_are_what_the_server_expects(call, model, state) -> None:
    server = Server()
    await _call(server, call)
    assert server.requests[0].url.path == f"/execution/task-instances/{TI}/state"
    body = model.model_validate_json(server.requests[0].content)
    assert body.state.value == state
    if state == "up_for_retry":
        assert body.retry_delay_seconds == 2
        assert len(body.retry_reason) == 500


async def test_xcom_path_is_quoted_and_mapped() -> None:
    server = Server(httpx.Response(201))
    await _call(
        server,
        lambda api: api.set_xcom(
            TI, dag_id="d", run_id="manual__2026+00:00/x", task_id="t", map_index=3, key="k", value=[1], mapped_length=1
        ),
    )
    request = server.requests[0]
    assert request.url.raw_path == b"/execution/xcoms/d/manual__2026%2B00%3A00%2Fx/t/k?map_index=3&mapped_length=1"
    assert json.loads(request.content) == [1]


def test_every_path_exists_in_the_installed_server() -> None:
    paths = {
        (method, route.path)
        for route in execution_api_router.routes
        if isinstance(route, APIRoute)
        for method in route.methods
    }
    assert ("PATCH", "/task-instances/{task_instance_id}/run") in paths
    assert ("PATCH", "/task-instances/{task_instance_id}/state") in paths
    assert ("POST", "/xcoms/{dag_id}/{run_id}/{task_id}/{key:path}") in paths
    versions = {str(version.value) for version in create_task_execution_api_app().versions.versions}
    assert API_VERSION in versions


@pytest.mark.parametrize(
    "hiccup",
    [
        httpx.Response(503),
        httpx.Response(500),
        httpx.Response(429),
        httpx.ConnectError("refused"),
        httpx.ReadTimeout("slow"),
    ],
)
async def test_an_absent_server_is_waited_for(hiccup) -> None:
    server = Server(hiccup, hiccup, httpx.Response(204))
    await _call(server, lambda api: api.succeed(TI))
    assert len(server.requests) == 3


@pytest.mark.parametrize(
    ("answer", "state"),
    [
        (httpx.Response(409, json={"detail": {"reason": "invalid_state", "previous_state": "success"}}), "success"),
        (httpx.Response(404, json={"detail": {"reason": "not_found"}}), None),
        (httpx.Response(410, text="gone"), None),
    ],
)
async def test_superseded(answer, state) -> None:
    with pytest.raises(Superseded) as caught:
        await _call(Server(answer), lambda api: api.start(TI, IDENTITY))
    assert caught.value.state == state


async def test_a_refusal_is_not_repeated() -> None:
    server = Server(httpx.Response(422, text="bad"))
    with pytest.raises(UnexpectedAnswer, match="422 bad"):
        await _call(server, lambda api: api.succeed(TI))
    assert len(server.requests) == 1


def test_ids_are_uuids() -> None:
    assert UUID(TI)
