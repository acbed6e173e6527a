"""Servers that misbehave, and runners' calls through a gateway to them."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from airflow_sop_provider.runner.gateway_call import GatewayCaller
from tests.runner import raw_server

from .gateway_parts import served


class Server(BaseHTTPRequestHandler):
    """An MCP server over HTTP whose tools misbehave as ``server.plan`` says; a fresh answer for each message."""

    protocol_version = "HTTP/1.1"

    def do_POST(self):
        message = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.headers.append(dict(self.headers))
        method, name = message["method"], (message.get("params") or {}).get("name")
        self.server.seen[name if method == "tools/call" else method] += 1
        plan = self.server.plan.get(name if method == "tools/call" else method, [])
        how = plan.pop(0) if plan else "answer"
        if how != "answer":
            return self.misbehave(how)
        response = raw_server.answer(message)
        if method == "tools/list" and response:
            for tool in response["result"]["tools"]:
                tool.update(self.server.changes.get(tool["name"], {}))
        return self.reply(202, b"") if response is None else self.reply(200, json.dumps(response).encode())

    def misbehave(self, how):
        if how == "drop":
            self.close_connection = True
            self.connection.close()
        elif how == "hang":
            time.sleep(3)
            self.close_connection = True
        elif how == "html":
            self.reply(200, b"<html>", "text/html")
        elif how == "no-json":
            self.reply(200, b'{"jsonrpc": "2.0", "id"')
        elif how == "50MB":
            self.reply(200, b'{"jsonrpc":"2.0","id":1,"result":"' + b"x" * 50_000_000 + b'"}')
        elif how == "drip":
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.end_headers()
            for _ in range(30):
                self.wfile.write(b" ")
                self.wfile.flush()
                time.sleep(0.1)
            self.close_connection = True
        else:
            self.reply(int(how), b"no")

    def do_GET(self):
        self.reply(405, b"")

    def do_DELETE(self):
        self.server.seen["DELETE"] += 1
        self.reply(200, b"")

    def reply(self, status, body, kind="application/json"):
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        try:
            self.wfile.write(body)
        except OSError:
            self.close_connection = True  # the reader had enough

    def log_message(self, *_):
        pass


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
def fleet(raw):
    with served({"raw": {"transport": "http", "url": raw.url, "timeout": 1.0}}) as gateway:
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
