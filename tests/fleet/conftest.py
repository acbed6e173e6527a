"""Servers that misbehave, and runners' calls through a gateway to them."""

from __future__ import annotations

import threading
from collections import Counter
from http.server import ThreadingHTTPServer

import pytest

from airflow_sop_provider.runner.gateway_call import GatewayCaller
from tests.runner.raw_http import RawHandler

from .gateway_parts import served


class Server(RawHandler):
    """An MCP server over HTTP whose tools misbehave as ``server.plan`` says; a fresh answer for each message."""

    def do_POST(self):
        message = self.message()
        self.server.headers.append(dict(self.headers))
        method, name = message["method"], (message.get("params") or {}).get("name")
        self.server.seen[name if method == "tools/call" else method] += 1
        plan = self.server.plan.get(name if method == "tools/call" else method, [])
        how = plan.pop(0) if plan else "answer"
        return self.answer(message, self.changed) if how == "answer" else self.misbehave(how)

    def changed(self, response):
        for tool in response.get("result", {}).get("tools", ()):
            tool.update(self.server.changes.get(tool["name"], {}))

    def do_DELETE(self):
        self.server.seen["DELETE"] += 1
        self.reply(200, b"")


@pytest.fixture
def raw():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Server)
    server.daemon_threads = True
    server.plan, server.changes, server.seen, server.headers = {}, {}, Counter(), []
    server.url = f"http://127.0.0.1:{server.server_port}/mcp"
    server.handle_error = lambda *_: None
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def fleet(raw, request):
    """A gateway before the server; it waits a second where the case is a server that is too slow, else long enough."""
    case = request.node.callspec.params.values() if hasattr(request.node, "callspec") else ()
    timeout = 1.0 if {"hang", "drip"} & {value for value in case if isinstance(value, str)} else 30.0
    with served({"raw": {"transport": "http", "url": raw.url, "timeout": timeout}}) as gateway:
        yield gateway


@pytest.fixture
def call(fleet, tmp_path):
    """Call a tool as a runner does; ``tools`` are those its SOP names."""

    def run(tool, arguments=None, *, tools=None, max_retries=3, caller=None, **attempt):
        caller = caller or runner(fleet, tmp_path, *([tool] if tools is None else tools), **attempt)
        return caller.call(attempt.get("server", "raw"), tool, arguments or {}, 30.0, max_retries)

    return run


def runner(fleet, folder, *tools, **attempt):
    path = folder / f"token-{len(fleet.attempts)}"
    path.write_text(fleet.token(*tools, **attempt) + "\n")
    return GatewayCaller(f"{fleet.url}/fleet", path)
