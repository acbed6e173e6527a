"""Who may call what: every endpoint x every kind of caller, made from the app's routes.

An endpoint that is not in the table fails, so nobody adds one without saying who may call it. Whether a caller is let
through is told by 401 and 403 alone: what else is wrong with a request is for other tests.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

import jwt
import pytest
from airflow.api_fastapi.auth.managers.simple.user import SimpleAuthManagerUser
from airflow.utils.session import create_session
from fastapi.testclient import TestClient
from starlette.routing import BaseRoute, Mount, Route

from airflow_sop_provider.api.app import create_app
from airflow_sop_provider.api.runner_auth import signing_key
from airflow_sop_provider.contract.attempt import AttemptKey
from airflow_sop_provider.engine.runner_tokens import runner_token
from airflow_sop_provider.store.attempts import AttemptBegin, AttemptEnd, begin_attempt, end_attempt
from airflow_sop_provider.store.execution_queries import attempts_of
from airflow_sop_provider.store.executions import find_execution
from tests.api.test_executions import submit

ROLES = ("viewer", "user", "op", "admin")
"""Of Airflow's simple auth manager; each may do what those before it may."""

DESCRIBED = "described"
"""Anybody may read how the API looks, as in Airflow itself."""
RUNNER = "runner"
"""A running attempt with its own token, and nobody else."""
WORKER = "worker"
"""A task that Airflow has running, with the token its worker makes; see `test_approvals`. No caller here is one."""

SERVER = {"data": {"server": "1", "tools": ["look"]}}
"""What the attempts may touch in the fleet; filled paths name it."""

V1 = "/api/v1"
ONE = f"{V1}/sops/{{dag_id}}/executions/{{run_id}}"
LEAST: dict[tuple[str, str], str] = {
    ("GET", "/openapi.json"): DESCRIBED,
    ("GET", "/docs"): DESCRIBED,
    ("GET", "/docs/oauth2-redirect"): DESCRIBED,
    ("GET", "/redoc"): DESCRIBED,
    ("GET", f"{V1}/executions"): "viewer",
    ("POST", f"{V1}/sops/{{dag_id}}/executions"): "user",
    ("GET", ONE): "viewer",
    ("GET", f"{ONE}/status"): "viewer",
    ("GET", f"{ONE}/events"): "viewer",
    ("GET", f"{ONE}/export"): "viewer",
    ("GET", f"{ONE}/steps/{{step}}/attempts.html"): "viewer",
    ("POST", f"{ONE}/cancel"): "user",
    ("GET", f"{V1}/fleet/servers"): "viewer",
    ("PUT", f"{V1}/fleet/snapshots/{{dag_id}}"): "user",
    ("POST", f"{V1}/runner/events"): RUNNER,
    ("GET", f"{V1}/runner/checkpoint"): RUNNER,
    ("PUT", f"{V1}/runner/checkpoint"): RUNNER,
    ("POST", "/fleet/{server}/mcp"): RUNNER,
    ("GET", f"{V1}/audit/entries"): "viewer",
    ("GET", f"{V1}/audit/digests"): "viewer",
    ("GET", f"{V1}/audit/public-key"): "viewer",
    ("GET", f"{V1}/audit/holds"): "op",
    ("POST", f"{V1}/audit/holds"): "op",
    ("DELETE", f"{V1}/audit/holds/{{hold_id}}"): "op",
    ("GET", f"{V1}/escalations"): "viewer",
    ("GET", f"{V1}/alerts"): "viewer",
    ("POST", f"{V1}/sops/{{dag_id}}/alerts/{{alert_id}}/acknowledge"): "user",
    ("GET", f"{V1}/approvals"): "viewer",
    ("GET", f"{V1}/sops/{{dag_id}}/approvals/{{approval_id}}"): "viewer",
    ("POST", f"{V1}/sops/{{dag_id}}/approvals/{{approval_id}}/answers"): "user",
    **{("POST", f"{V1}/worker/approval/{what}"): WORKER for what in ("ask", "settle", "missing")},
    ("GET", f"{V1}/metrics/summary"): "viewer",
    ("GET", f"{V1}/metrics"): "viewer",
    ("GET", f"{V1}/sops/{{dag_id}}/mode"): "viewer",
    ("PUT", f"{V1}/sops/{{dag_id}}/mode"): "user",
}
"""The role that is needed, and with it all above."""


def endpoints(routes: list[BaseRoute]) -> Iterator[tuple[str, str]]:
    for route in routes:
        if isinstance(route, Mount):
            yield ("POST", f"{route.path}/{{server}}/mcp")
        elif isinstance(route, Route):
            for method in sorted((route.methods or set()) - {"HEAD"}):
                yield (method, route.path)
        else:
            yield ("?", repr(route))


ENDPOINTS = sorted(set(endpoints(create_app().routes)))
CALLERS = (
    "anonymous", *ROLES, "a running attempt of another execution", "an attempt that is over", "an expired user's token",
    "an expired attempt's token", "a token signed by somebody else", "an attempt's token signed by somebody else",
    "a token that says it needs no signature", "nonsense",
)  # fmt: skip


def test_every_endpoint_says_who_may_call_it() -> None:
    assert set(ENDPOINTS) == set(LEAST)


@pytest.fixture
def attempts(client: TestClient, signed_in, chain: str) -> dict[str, AttemptKey]:
    """Two executions with an attempt each: ``own`` is what is called about, ``other`` calls; ``over`` has ended."""
    made = {}
    for number, name in enumerate(("own", "other", "over")):
        run_id = submit(signed_in("admin"), chain).json()["run_id"]
        key = AttemptKey(sop=chain, run_id=run_id, step="first", attempt=1, task_instance_id=f"t-{number}")
        with create_session() as session:
            row = find_execution(session, chain, run_id)
            begin_attempt(session, row, AttemptBegin(key=key, kind="step", runtime="local", data_sources=SERVER))
            if name == "over":
                end_attempt(session, row, AttemptEnd(key=key, state="succeeded"))
        made[name] = key
    return made


@pytest.fixture
def token_of(client: TestClient, attempts: dict[str, AttemptKey]) -> Callable[[str], str | None]:
    manager = client.app.state.auth_manager  # type: ignore[attr-defined]
    now = datetime.now(UTC)
    admin = SimpleAuthManagerUser(username="admin", role="admin")

    def attempt(name: str, key: bytes = signing_key(), at: datetime = now) -> str:
        return runner_token(attempts[name], key, timeout_seconds=60, now=at)

    def resigned(token: str, key: str, algorithm: str) -> str:
        claims = jwt.decode(token, options={"verify_signature": False})
        return jwt.encode(
            claims, key, algorithm=algorithm, headers={"kid": jwt.get_unverified_header(token).get("kid")}
        )

    def make(caller: str) -> str | None:
        tokens: dict[str, Callable[[], str | None]] = {
            "anonymous": lambda: None,
            **{
                role: lambda role=role: manager.generate_jwt(SimpleAuthManagerUser(username=role, role=role))
                for role in ROLES
            },
            "a running attempt of another execution": lambda: attempt("other"),
            "an attempt that is over": lambda: attempt("over"),
            "an expired user's token": lambda: manager.generate_jwt(admin, expiration_time_in_seconds=-3600),
            "an expired attempt's token": lambda: attempt("other", at=now - timedelta(days=30)),
            "a token signed by somebody else": lambda: resigned(manager.generate_jwt(admin), "x" * 64, "HS512"),
            "an attempt's token signed by somebody else": lambda: attempt("other", key=b"x" * 32),
            "a token that says it needs no signature": lambda: resigned(manager.generate_jwt(admin), "", "none"),
            "nonsense": lambda: "nonsense",
        }
        return tokens[caller]()

    return make


def let_through(endpoint: tuple[str, str], caller: str) -> bool:
    least = LEAST[endpoint]
    if least == DESCRIBED:
        return True
    if least == WORKER:
        return False
    if least == RUNNER:
        return caller == "a running attempt of another execution"  # and it finds nothing there but its own
    return caller in ROLES and ROLES.index(caller) >= ROLES.index(least)


def filled(path: str, **known: str) -> str:
    return re.sub(r"\{(\w+)(:\w+)?\}", lambda found: known.get(found[1], "1"), path)


@pytest.mark.parametrize("caller", CALLERS)
def test_who_is_let_through(client: TestClient, chain: str, attempts, token_of, caller: str) -> None:
    token = token_of(caller)
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    wrong = {}
    for method, path in ENDPOINTS:
        run_id = "none" if path.endswith("/events") else attempts["own"].run_id  # what is followed does not end
        address = filled(path, dag_id=chain, run_id=run_id, step="first")
        body = {"json": {"events": []}} if method in ("POST", "PUT") else {}
        answer = TestClient(client.app, headers=headers).request(method, address, **body)
        if (answer.status_code not in (401, 403)) is not let_through((method, path), caller):
            wrong[f"{method} {path}"] = answer.status_code
        assert answer.status_code != 500, (method, path)
    assert wrong == {}


def test_an_attempt_finds_and_leaves_only_what_is_its_own(client: TestClient, attempts) -> None:
    signed = {}
    for name in ("own", "other"):
        token = runner_token(attempts[name], signing_key(), timeout_seconds=60, now=datetime.now(UTC))
        signed[name] = {"Authorization": f"Bearer {token}"}
    assert client.put(f"{V1}/runner/checkpoint", json={"secret": 1}, headers=signed["own"]).status_code == 200
    assert client.get(f"{V1}/runner/checkpoint", headers=signed["other"]).json() == {}
    assert client.put(f"{V1}/runner/checkpoint", json={"mine": 2}, headers=signed["other"]).status_code == 200
    assert client.get(f"{V1}/runner/checkpoint", headers=signed["own"]).json() == {"secret": 1}
    said = {"events": [{"seq": 1, "kind": "note", "text": "from the other"}]}
    client.post(f"{V1}/runner/events", json=said, headers=signed["other"])
    with create_session() as session:
        own = find_execution(session, attempts["own"].sop, attempts["own"].run_id)
        assert [row.events_seen for row in attempts_of(session, own)] == [0]
