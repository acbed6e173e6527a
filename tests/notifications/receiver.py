"""A real web server that keeps what it is sent and answers what it is told to, once it is let."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ssl import SSLContext
from threading import Event, Thread

import pytest

__all__ = ["Receiver", "receiver"]

SECRET = "a-secret-of-the-webhook"


@dataclass
class Receiver:
    url: str = ""
    status: int = 200
    answer: bytes = b""
    stalled: Event | None = None
    server: ThreadingHTTPServer | None = None
    got: list[tuple[str, dict[str, str], bytes]] = field(default_factory=list)

    def speak_tls(self, context: SSLContext) -> None:
        """Answer HTTPS from now on."""
        assert self.server is not None
        self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        self.url = self.url.replace("http:", "https:")


@pytest.fixture
def receiver(monkeypatch: pytest.MonkeyPatch) -> Iterator[Receiver]:
    """A server, and an Airflow connection ``ops`` that names it."""
    kept = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            kept.got.append((self.path, dict(self.headers), body))
            if kept.stalled is not None:
                kept.stalled.wait(60)
            self.send_response(kept.status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(kept.answer)))
            self.end_headers()
            self.wfile.write(kept.answer)

        def log_message(self, *_: object) -> None:
            return

    server = kept.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    kept.url = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setenv("AIRFLOW_CONN_OPS", f"http://:{SECRET}@127.0.0.1:{server.server_port}/http")
    yield kept
    server.shutdown()
    thread.join()
    server.server_close()
