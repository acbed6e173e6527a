"""Feature: execution-engine, Property 20: Fleet lifecycle.

Credentials and endpoints provided, every query authorised and logged, data format validated, connections closed at the
end. On real servers and over HTTP: tests/fleet/test_gateway.py.
"""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mcp import Client
from mcp.server.mcpserver import MCPServer

from airflow_sop_provider.contract.fleet_calls import ERROR_META
from airflow_sop_provider.fleet.breakers import Breakers, MemoryBreakers
from airflow_sop_provider.fleet.calls import Calls
from airflow_sop_provider.fleet.credentials import access_to
from airflow_sop_provider.fleet.rates import Rates
from airflow_sop_provider.fleet.registry import FleetRegistry, HttpServer
from airflow_sop_provider.fleet.sessions import Session, Sessions

pytestmark = pytest.mark.slow

names = st.sampled_from(["alpha", "beta", "gamma"])
tools = st.sampled_from(["echo", "count", "absent"])
sources = st.dictionaries(
    st.sampled_from(["a", "b"]), st.fixed_dictionaries({"server": names, "tools": st.lists(tools, min_size=1)})
)
queries = st.lists(
    st.tuples(st.sampled_from(["r1", "r2"]), names, tools, st.one_of(st.integers(), st.text(max_size=5)))
)


def server() -> MCPServer:
    made = MCPServer("real")

    @made.tool()
    def echo(n: int) -> dict[str, int]:
        return {"n": n}

    @made.tool()
    def count(n: int) -> dict[str, int]:
        return {"n": n + 1}

    return made


class InProcess(Session):
    """A session with a real MCP server in this process: the protocol without a network."""

    closed = 0

    def _connected(self):
        return Client(server())

    async def close(self):
        InProcess.closed += 1
        await super().close()


class Fleet:
    registry = FleetRegistry.model_validate(
        {
            "servers": {
                name: {"transport": "http", "url": "http://127.0.0.1:9/mcp"} for name in ("alpha", "beta", "gamma")
            }
        }
    )

    async def server(self, name):
        return self.registry.server(name)

    async def names(self):
        return sorted(self.registry.servers)


class Audit(list):
    async def record(self, access):
        self.append(access)


@settings(max_examples=100)
@given(sources, queries)
async def test_every_query_is_authorised_logged_and_checked_and_all_is_closed(data_sources, asked):
    InProcess.closed = 0
    sessions, audit = Sessions(make=InProcess), Audit()
    calls = Calls(
        servers=Fleet(), sessions=sessions, breakers=Breakers(MemoryBreakers()), audit=audit, rates=Rates(10_000)
    )
    allowed = {(source["server"], tool) for source in data_sources.values() for tool in source["tools"]}
    try:
        for run, name, tool, n in asked:
            caller = SimpleNamespace(sop="s", run_id=run, step="x", map_index=-1, attempt=1, data_sources=data_sources)
            result = await calls.call(caller, name, tool, {"n": n}, {})
            code = (result.meta or {}).get(ERROR_META, {}).get("code")
            if (name, tool) not in allowed:
                assert code == "tool-not-allowed"
            elif tool == "absent":
                assert code == "mcp-unknown-tool"
            elif isinstance(n, str):
                assert code == "mcp-invalid-arguments"
            else:
                assert result.structured_content == {"n": n + (tool == "count")}
            assert audit[-1].code == code
            assert (audit[-1].caller.run_id, audit[-1].server, audit[-1].tool) == (run, name, tool)
        assert len(audit) == len(asked)
        opened = {(run, name) for run, name, tool, _ in asked if (name, tool) in allowed}
        assert len(sessions) == len(opened)
        for run in ("r1", "r2"):
            await sessions.end_execution("s", run)
        assert len(sessions) == 0
        assert InProcess.closed == len(opened)
    finally:
        await sessions.close()


secrets = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=8, max_size=40)


@settings(max_examples=100)
@given(secrets, st.sampled_from(["bearer", "api_key", "oauth_client_credentials"]))
def test_credentials_are_provided_to_the_connection_and_shown_nowhere(secret, kind):
    field = {"bearer": "token", "api_key": "key", "oauth_client_credentials": "client_secret"}[kind]
    credential = {"kind": kind, field: "${SECRET_OF_THE_TEST}"}
    if kind == "oauth_client_credentials":
        credential |= {"client_id": "us", "issuer": "https://issuer.example"}
    declared = HttpServer.model_validate(
        {"transport": "http", "url": "https://fleet.example/mcp", "credentials": credential}
    )
    access = access_to(declared, {"SECRET_OF_THE_TEST": secret})
    assert secret in access.secrets
    assert secret in json.dumps(dict(access.headers)).encode().decode("unicode_escape") or access.auth is not None
    assert secret not in repr(access)
    assert secret not in declared.model_dump_json()
