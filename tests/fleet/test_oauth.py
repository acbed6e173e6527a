"""OAuth client credentials against a real authorization server: fetched once, renewed in the same session."""

from __future__ import annotations

import base64
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs

import pytest

from airflow_sop_provider.runner.failures import StepFailureError
from tests.runner import raw_server

from .conftest import runner
from .gateway_parts import served


class Guarded(BaseHTTPRequestHandler):
    """An MCP server and its authorization server at one address."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        base = self.server.base
        if "oauth-protected-resource" in self.path:
            return self.reply(200, {"resource": f"{base}/mcp", "authorization_servers": [base]})
        if "oauth-authorization-server" in self.path or "openid-configuration" in self.path:
            document = {
                "issuer": base, "token_endpoint": f"{base}/token", "authorization_endpoint": f"{base}/authorize",
                "response_types_supported": ["code"], "grant_types_supported": ["client_credentials"],
                "token_endpoint_auth_methods_supported": ["client_secret_basic"],
            }  # fmt: skip
            return self.reply(200, document)
        return self.reply(405, {})

    do_DELETE = do_GET

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.path == "/token":
            return self.token(parse_qs(body.decode()))
        if self.headers.get("Authorization") != f"Bearer {self.server.token}":
            challenge = f'Bearer resource_metadata="{self.server.base}/.well-known/oauth-protected-resource/mcp"'
            return self.reply(401, {}, {"WWW-Authenticate": challenge})
        message = json.loads(body)
        self.server.methods.append(message["method"])
        answer = raw_server.answer(message)
        return self.reply(202 if answer is None else 200, answer or {})

    def token(self, form):
        name, _, secret = base64.b64decode(self.headers["Authorization"].partition(" ")[2]).decode().partition(":")
        if (name, secret, form["grant_type"]) != ("us", self.server.secret, ["client_credentials"]):
            return self.reply(401, {"error": "invalid_client"})
        self.server.issued += 1
        self.server.token = f"token-of-server-{self.server.issued}"
        return self.reply(200, {"access_token": self.server.token, "token_type": "Bearer", "expires_in": 3600})

    def reply(self, status, document, headers=None):
        data = json.dumps(document).encode()
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", "Content-Length": len(data), **(headers or {})}.items():
            self.send_header(name, str(value))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_):
        pass


@pytest.fixture
def guarded():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Guarded)
    server.daemon_threads = True
    server.base = f"http://127.0.0.1:{server.server_port}"
    server.secret, server.token, server.issued, server.methods = "s3cret-value", "none yet", 0, []
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def declared(server):
    credentials = {
        "kind": "oauth_client_credentials", "client_id": "us", "client_secret": "${CLIENT_SECRET}",
        "issuer": server.base,
    }  # fmt: skip
    return {"raw": {"transport": "http", "url": f"{server.base}/mcp", "timeout": 10, "credentials": credentials}}


def test_a_token_is_fetched_and_renewed_in_the_same_session(guarded, tmp_path, monkeypatch):
    monkeypatch.setenv("CLIENT_SECRET", "s3cret-value")
    with served(declared(guarded)) as fleet:
        caller = runner(fleet, tmp_path, "structured")
        assert caller.call("raw", "structured", {}, 30.0, 0) == {"n": 7}
        assert caller.call("raw", "structured", {}, 30.0, 0) == {"n": 7}
        assert guarded.issued == 1
        guarded.token = "revoked"
        assert caller.call("raw", "structured", {}, 30.0, 0) == {"n": 7}
    assert guarded.issued == 2
    assert guarded.methods.count("initialize") == 1


def test_a_client_that_the_authorization_server_refuses(guarded, tmp_path, monkeypatch):
    monkeypatch.setenv("CLIENT_SECRET", "another")
    with served(declared(guarded)) as fleet:
        caller = runner(fleet, tmp_path, "structured")
        with pytest.raises(StepFailureError) as caught:
            caller.call("raw", "structured", {}, 30.0, 3)
    assert (str(caught.value.error_type), caught.value.exit_code) == ("permanent", 77)
    assert "another" not in str(caught.value)
    assert not guarded.methods
