"""The gateway inside the engine's app: real tokens, real tables, real servers, connections of Airflow."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import httpx2
import pytest
from airflow.models.connection import Connection
from airflow.providers_manager import ProvidersManager
from airflow.utils.session import create_session
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from sqlalchemy import delete, select, update

from airflow_sop_provider.api import fleet as api_fleet
from airflow_sop_provider.api.fleet import AirflowServers, running
from airflow_sop_provider.api.runner_auth import signing_key
from airflow_sop_provider.engine.execution_context import context_of_sop
from airflow_sop_provider.engine.runner_tokens import runner_token
from airflow_sop_provider.fleet.registry import FleetError
from airflow_sop_provider.hooks.mcp import McpHook, server_of_connection
from airflow_sop_provider.sop import check_text
from airflow_sop_provider.store.attempts import AttemptBegin, begin_attempt
from airflow_sop_provider.store.executions import open_execution
from airflow_sop_provider.store.tables import AuditEntryRow, ExecutionRow, ToolSnapshotRow
from tests.fleet.conftest import raw  # noqa: F401  a fixture: a server that misbehaves when told to
from tests.store.facts import attempt_key, context_of, run_facts

SOURCES = {"data": {"server": "raw", "tools": ["structured"]}}


@pytest.fixture
def token():
    key = attempt_key()
    with create_session() as session:
        execution = open_execution(session, run_facts(), context_of())
        begin_attempt(session, execution, AttemptBegin(key=key, kind="step", data_sources=SOURCES))
    return runner_token(key, signing_key(), timeout_seconds=60, now=datetime.now(UTC))


@pytest.fixture
def connect(airflow_database):
    def add(conn_id="raw", conn_type="mcp", **parts):
        with create_session() as session:
            session.add(Connection(conn_id=conn_id, conn_type=conn_type, **parts))

    yield add
    with create_session() as session:
        session.execute(delete(Connection).where(Connection.conn_id.in_(["raw", "other"])))


@pytest.fixture
def app(client, tmp_path):
    client.app.state.fleet.calls.servers = AirflowServers(tmp_path / "fleet.yaml")
    return client.app


@asynccontextmanager
async def mcp_client(app, token):
    transport, headers = httpx2.ASGITransport(app), {"Authorization": f"Bearer {token}"}
    async with (
        httpx2.AsyncClient(transport=transport, base_url="http://engine", headers=headers) as http,
        Client(streamable_http_client("http://engine/fleet/raw/mcp", http_client=http)) as client,
    ):
        yield client


async def test_a_runner_reaches_a_server_of_a_connection_and_it_is_in_the_audit_log(app, token, connect, raw):  # noqa: F811
    connect(host=raw.url, password="s3cret-value", extra=json.dumps({"auth": "api_key", "header": "X-Key"}))
    async with running(app.state.fleet), mcp_client(app, token) as client:
        assert [tool.name for tool in (await client.list_tools()).tools] == ["structured"]
        assert (await client.call_tool("structured", {})).structured_content == {"n": 7}
    assert {headers["X-Key"] for headers in raw.headers} == {"s3cret-value"}
    with create_session() as session:
        entries = session.scalars(select(AuditEntryRow).where(AuditEntryRow.kind == "data.access")).all()
        assert [entry.component for entry in entries] == ["fleet"]
        assert "s3cret" not in entries[0].meta
        assert session.scalars(select(ToolSnapshotRow.tool)).all() == ["structured"]


EXPECTING = """\
sop: software-licence-review
version: 9.0.0
title: Expects another number
mode: system_design
data_sources: {data: {server: raw, tools: [structured]}}
steps:
  - {id: inventory, tool: data.structured, outputs: {type: object, properties: {n: {const: 8}}}}
"""


async def test_a_result_is_held_against_the_document_that_the_execution_began_with(app, connect, raw, empty_tables):  # noqa: F811
    context, key = context_of_sop(check_text(EXPECTING).unwrap()), attempt_key()
    with create_session() as session:
        execution = open_execution(session, run_facts(), context, document=EXPECTING)
        begin_attempt(session, execution, AttemptBegin(key=key, kind="step", data_sources=SOURCES))
    token = runner_token(key, signing_key(), timeout_seconds=60, now=datetime.now(UTC))
    connect(host=raw.url)
    async with running(app.state.fleet), mcp_client(app, token) as client:
        result = await client.call_tool("structured", {})
    assert result.is_error
    assert "breaks the step's `outputs`" in result.content[0].text
    with create_session() as session:
        (entry,) = session.scalars(select(AuditEntryRow).where(AuditEntryRow.kind == "data.access"))
        assert "outputs-schema" in entry.meta


async def test_sessions_end_with_their_execution(app, token, connect, raw, monkeypatch):  # noqa: F811
    monkeypatch.setattr(api_fleet, "_LOOK_SECONDS", 0.05)
    connect(host=raw.url)
    sessions = app.state.fleet.calls.sessions
    async with running(app.state.fleet), mcp_client(app, token) as client:
        await client.call_tool("structured", {})
        assert len(sessions) == 1
        with create_session() as session:
            session.execute(update(ExecutionRow).values(ended_at=datetime.now(UTC)))
        for _ in range(200):
            if not len(sessions):
                break
            await asyncio.sleep(0.05)
        assert len(sessions) == 0


async def test_a_token_of_airflow_opens_nothing(app, admin, connect, raw):  # noqa: F811
    connect(host=raw.url)
    async with running(app.state.fleet):
        headers = dict(admin.headers)
        async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app), base_url="http://engine") as http:
            answer = await http.post("/fleet/raw/mcp", json={}, headers={"Authorization": headers["authorization"]})
    assert answer.status_code == 401
    assert not raw.seen


def test_states_of_servers_are_for_users(app, client, admin, connect, raw):  # noqa: F811
    connect(host=raw.url)
    assert client.get("/api/v1/fleet/servers").status_code in (401, 403)
    assert admin.get("/api/v1/fleet/servers").json() == [
        {"name": "raw", "breaker": "closed", "failure_ratio": 0.0, "requests": 0}
    ]


def test_re_validation_stores_what_the_tools_are_now(app, admin, signed_in, chain, connect, raw):  # noqa: F811
    connect(host=raw.url)
    path, body = f"/api/v1/fleet/snapshots/{chain}", {"servers": {"raw": ["structured"]}}
    assert signed_in("viewer").put(path, json=body).status_code == 403
    first = admin.put(path, json=body).json()["raw"]["structured"]
    raw.changes["structured"] = {"description": "now another"}
    assert admin.put(path, json=body).json()["raw"]["structured"] != first
    with create_session() as session:
        row = session.scalars(select(ToolSnapshotRow)).one()
        assert (row.sop, row.tool, row.validated_by) == (chain, "structured", "admin")
    assert admin.put(path, json={"servers": {"raw": ["absent"]}}).status_code == 404
    assert admin.put(path, json={"servers": {"nowhere": ["x"]}}).status_code == 404


async def test_the_file_wins_over_a_connection(connect, tmp_path):
    connect(host="https://connection.example/mcp")
    connect(conn_id="other", conn_type="http", host="https://other.example")
    path = tmp_path / "fleet.yaml"
    path.write_text('servers: {raw: {transport: http, url: "https://file.example/mcp"}}')
    servers = AirflowServers(path)
    assert (await servers.server("raw")).url == "https://file.example/mcp"
    assert await servers.names() == ["raw"]
    path.unlink()
    assert (await servers.server("raw")).url == "https://connection.example/mcp"
    with pytest.raises(FleetError, match="of type `http`"):
        await servers.server("other")
    with pytest.raises(FleetError, match="no server `nobody`"):
        await servers.server("nobody")


@pytest.mark.parametrize(
    ("extra", "expected"),
    [
        ({}, {"kind": "bearer", "token": "pw"}),
        ({"auth": "none"}, None),
        ({"auth": "api_key"}, {"kind": "api_key", "key": "pw", "header": "X-API-Key"}),
        (
            {"auth": "oauth", "issuer": "https://i.example", "scope": "read"},
            {"kind": "oauth_client_credentials", "client_id": "me", "client_secret": "pw",
             "issuer": "https://i.example", "scope": "read"},
        ),
    ],
)  # fmt: skip
def test_credentials_of_a_connection(extra, expected):
    connection = Connection(
        conn_id="c", conn_type="mcp", host="h.example/mcp", login="me", password="pw", extra=json.dumps(extra)
    )
    server = server_of_connection(connection)
    assert server.url == "https://h.example/mcp"
    assert (server.credentials and server.credentials.model_dump()) == expected


@pytest.mark.parametrize("extra", [{"auth": "oauth"}, {"auth": "magic"}, {"timeout": -1}])
def test_a_connection_that_describes_no_server(extra):
    connection = Connection(conn_id="c", conn_type="mcp", host="h", password="s3cret", extra=json.dumps(extra))
    with pytest.raises(FleetError) as caught:
        server_of_connection(connection)
    assert "s3cret" not in str(caught.value)


def test_airflows_test_button(connect, raw, monkeypatch):  # noqa: F811
    monkeypatch.setenv("AIRFLOW_CONN_RAW", json.dumps({"conn_type": "mcp", "host": raw.url}))
    ok, text = McpHook("raw").test_connection()
    assert ok, text
    raw.plan["tools/list"] = ["401"]
    assert McpHook("raw").test_connection()[0] is False


def test_the_form_in_the_ui():
    manager = ProvidersManager()
    hook = manager.hooks["mcp"]
    assert (hook.hook_name, hook.connection_testable) == ("MCP server", True)
    assert manager.field_behaviours["mcp"]["relabeling"]["host"] == "URL"
