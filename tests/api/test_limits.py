"""How much one caller may ask for: 429 with Retry-After, 413, and nobody pays for another."""

from __future__ import annotations

import pytest
from fastapi.testclient import TestClient

from airflow_sop_provider.airflow_settings import ApiLimits
from airflow_sop_provider.api import limits as module
from airflow_sop_provider.client import ExecutionCoordinator
from airflow_sop_provider.client import coordinator as client_module

V1 = "/api/v1"


@pytest.fixture
def few(monkeypatch):
    monkeypatch.setenv("AIRFLOW__SOP__API_CALLS_PER_MINUTE", "5")
    monkeypatch.setenv("AIRFLOW__SOP__RUNNER_CALLS_PER_MINUTE", "3")
    monkeypatch.setenv("AIRFLOW__SOP__API_BODY_BYTES", "1000")
    monkeypatch.setenv("AIRFLOW__SOP__RUNNER_BODY_BYTES", "2000")


def test_too_many_requests_of_one_token_are_refused_with_the_time_to_wait(few, signed_in) -> None:
    admin, viewer = signed_in("admin"), signed_in("viewer")
    answers = [admin.get(f"{V1}/executions") for _ in range(6)]
    assert [one.status_code for one in answers] == [200] * 5 + [429]
    assert 1 <= int(answers[-1].headers["retry-after"]) <= 61
    assert "5 requests in a minute" in answers[-1].json()["detail"]
    assert viewer.get(f"{V1}/executions").status_code == 200, "another user has turns of their own"


def test_the_minute_ends(few, signed_in, monkeypatch) -> None:
    admin = signed_in("admin")
    assert [admin.get(f"{V1}/executions").status_code for _ in range(6)][-1] == 429
    now = module.time.time()
    monkeypatch.setattr("time.time", lambda: now + 61)
    assert admin.get(f"{V1}/executions").status_code == 200


def test_the_cookie_of_the_ui_is_the_same_caller_whatever_else_is_in_it(few, client) -> None:
    codes = []
    for number in range(6):
        headers = {"Cookie": f"other={number}; _token=abc"}
        codes.append(client.get(f"{V1}/executions", headers=headers).status_code)
    assert codes == [403] * 5 + [429]


def test_who_is_nobody_is_counted_by_address(few, client) -> None:
    assert [client.get(f"{V1}/executions").status_code for _ in range(6)] == [401] * 5 + [429]


def test_runners_have_limits_of_their_own(few, client) -> None:
    headers = {"Authorization": "Bearer of.an.attempt"}
    assert [client.get(f"{V1}/runner/checkpoint", headers=headers).status_code for _ in range(4)] == [401] * 3 + [429]
    other = {"Authorization": "Bearer of.another.one"}
    body = {"events": [], "text": "x" * 1500}
    assert client.post(f"{V1}/runner/events", json=body, headers=other).status_code in (401, 422)
    assert client.post(f"{V1}/runner/events", json=body | {"more": "x" * 600}, headers=other).status_code == 413


def test_a_body_that_is_too_large_is_refused_before_it_is_read(few, signed_in, chain) -> None:
    admin = signed_in("admin")
    answer = admin.post(f"{V1}/sops/{chain}/executions", json={"inputs": {"text": "x" * 1000}})
    assert (answer.status_code, answer.json()["detail"]) == (413, "The body may have 1000 bytes.")


def test_a_body_that_does_not_say_its_size_is_refused_while_it_comes(few, signed_in, chain) -> None:
    def pieces():
        yield b'{"inputs": {"text": "'
        for _ in range(20):
            yield b"x" * 100
        yield b'"}}'

    headers = {"Content-Type": "application/json"}
    answer = signed_in("admin").post(f"{V1}/sops/{chain}/executions", content=pieces(), headers=headers)
    assert answer.status_code == 413


def test_the_gateway_has_its_own(few, client) -> None:
    codes = {client.post("/fleet/none/mcp", json={}).status_code for _ in range(7)}
    assert 429 not in codes


def test_nothing_of_a_token_is_kept() -> None:
    caller = module._caller({"headers": [(b"authorization", b"Bearer secret")], "client": ("127.0.0.1", 1)})
    assert "secret" not in caller


def test_the_defaults_let_a_busy_dashboard_and_a_runner_through() -> None:
    limits = ApiLimits()
    assert limits.calls_per_minute >= 200 * 60, "200 status queries a second"
    assert limits.runner_calls_per_minute >= 2 * 60, "events and a checkpoint each second"


def test_the_client_waits_as_long_as_it_is_told(monkeypatch) -> None:
    waited: list[float] = []
    monkeypatch.setattr(client_module.time, "sleep", waited.append)
    answers = iter([(429, {"Retry-After": "7"}), (200, {})])

    def answer(request):
        code, headers = next(answers)
        return client_module.httpx.Response(code, headers=headers, json={}, request=request)

    with ExecutionCoordinator("http://x", token="t") as engine:
        engine._client._transport = client_module.httpx.MockTransport(answer)
        engine.cancel_execution("a/b")
    assert waited == [7], "also for what may not be sent twice: nothing was done"


def test_a_socket_that_is_no_request_is_none_of_its_business(client: TestClient) -> None:
    assert client.get("/docs").status_code == 200


def test_who_was_there_a_minute_ago_is_forgotten(monkeypatch) -> None:
    """Thousands of attempts come and go; what is kept of them must not grow, nor cost each request something."""
    now, minutes = [1000.0], module._Minutes()
    monkeypatch.setattr("time.time", lambda: now[0])
    for number in range(4000):
        assert minutes.wait(1, f"attempt {number}") is None
    assert minutes.wait(1, "attempt 7") == 60
    now[0] += 61
    assert minutes.wait(1, "attempt 7") is None
    assert len(minutes._began) == 1
    now[0] -= 3600  # the clock is set back
    assert minutes.wait(1, "attempt 7") is None
    assert minutes.wait(1, "attempt 7") == 60
