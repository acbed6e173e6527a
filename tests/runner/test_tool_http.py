"""Tool steps over streamable HTTP: statuses that the MCP client hides, broken connections, and the real server."""

from __future__ import annotations

import json
import socket
import threading
from http.server import ThreadingHTTPServer

import pytest

from .raw_http import RawHandler


class Endpoint(RawHandler):
    """Answers JSON-RPC messages; the path says how it misbehaves, and from which method on."""

    def do_POST(self):
        message = self.message()
        self.server.seen.append(dict(self.headers))
        _, when, how = self.path.split("/")
        wanted = when in (message["method"].replace("/", "-"), "always")
        return self.misbehave(how) if wanted else self.answer(message)

    do_DELETE = RawHandler.do_GET


@pytest.fixture(scope="module")
def endpoint():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Endpoint)
    server.seen = []
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def call(attempt, endpoint):
    def run(path, tool="structured", **server):
        url = f"http://127.0.0.1:{endpoint.server_port}/{path}"
        fleet = {"servers": {"raw": {"transport": "http", "url": url, **server}}}
        sources = {"data": {"server": "raw", "tools": [tool]}}
        return attempt({"tool": f"data.{tool}"}, fleet=json.dumps(fleet), data_sources=sources)

    return run


def test_result(call):
    assert call("never/x").outputs == {"n": 7}


@pytest.mark.parametrize("when", ["tools-call", "always"])
@pytest.mark.parametrize(
    ("status", "kind", "exit_code"),
    [(429, "transient", 75), (500, "transient", 75), (503, "transient", 75), (408, "transient", 75),
     (401, "permanent", 77), (403, "permanent", 77), (404, "permanent", 78), (400, "permanent", 78)],
)  # fmt: skip
def test_status(call, when, status, kind, exit_code):
    assert call(f"{when}/{status}").failure == (kind, f"mcp-http-{status}", exit_code)


def test_dropped_connection(call):
    result = call("tools-call/drop")
    assert result.failure[0] == "transient"
    assert result.code == 75


@pytest.mark.parametrize("how", ["html", "no-json", "redirect"])
def test_answers_that_are_not_mcp(call, how):
    kind, _, code = call(f"tools-call/{how}").failure
    assert (kind, code) == ("permanent", 65)


def test_an_answer_of_50_megabytes_is_not_read_to_its_end(call):
    assert call("tools-call/50MB").failure == ("permanent", "mcp-result-too-large", 65)


def test_an_answer_that_drips_is_a_timeout(call):
    assert call("tools-call/drip", timeout=1.0).failure == ("transient", "mcp-timeout", 75)


def test_nobody_listens(attempt):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}/mcp"
        fleet = json.dumps({"servers": {"raw": {"transport": "http", "url": url}}})
        result = attempt({"tool": "d.t"}, fleet=fleet, data_sources={"d": {"server": "raw", "tools": ["t"]}})
    assert result.failure == ("transient", "mcp-unreachable", 75)


def test_silent_server_is_a_timeout(attempt):
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/mcp"
        fleet = json.dumps({"servers": {"raw": {"transport": "http", "url": url, "timeout": 0.5}}})
        result = attempt({"tool": "d.t"}, fleet=fleet, data_sources={"d": {"server": "raw", "tools": ["t"]}})
    assert result.failure == ("transient", "mcp-timeout", 75)


def test_headers_carry_secrets_that_are_not_logged(call, endpoint, monkeypatch):
    monkeypatch.setenv("RAW_TOKEN", "s3cret-value")
    endpoint.seen.clear()
    result = call("tools-call/401", headers={"Authorization": "Bearer ${RAW_TOKEN}"})
    assert all(headers["Authorization"] == "Bearer s3cret-value" for headers in endpoint.seen)
    assert result.code == 77
    for path in result.folder.iterdir():
        assert path.name == "fleet.yaml" or "s3cret" not in path.read_text()
