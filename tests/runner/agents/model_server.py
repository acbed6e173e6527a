"""A model's server over HTTP, as OpenAI-compatible ones are, that answers what a test says and misbehaves on demand."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any


def completion(message: dict[str, Any], finish: str = "stop") -> dict[str, Any]:
    choice = {"index": 0, "message": {"role": "assistant", **message}, "finish_reason": finish}
    usage = {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}
    return {
        "id": "1", "object": "chat.completion", "created": 0, "model": "m", "choices": [choice], "usage": usage,
    }  # fmt: skip


def call(name: str, arguments: str) -> dict[str, Any]:
    call = {"id": "c1", "type": "function", "function": {"name": name, "arguments": arguments}}
    return completion({"content": None, "tool_calls": [call]}, "tool_calls")


class _Model(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.asked.append((body, self.headers["Authorization"]))
        status, answer = self.server.answers[min(len(self.server.asked), len(self.server.answers)) - 1]
        if answer == "hang":
            time.sleep(30)
        if answer == "nothing":
            return  # the connection closes
        slow = answer == "drip"
        answer = completion({"content": "Hello." * 20}) if slow else answer
        data = answer.encode() if isinstance(answer, str) else json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "text/html" if data.startswith(b"<") else "application/json")
        self.send_header("Content-Length", str(len(data) + (100 if answer == "cut" else 0)))
        self.end_headers()
        for number in range(len(data) if slow else 0):
            self.wfile.write(data[number : number + 1])
            self.wfile.flush()
            time.sleep(0.2)
        self.wfile.write(b"" if slow else data)
        self.close_connection = True

    def log_message(self, *_: Any) -> None:
        pass


@contextmanager
def serving(folder: Path, **entry: Any) -> Iterator[Any]:
    """Serve; write a ``models.yaml`` into the folder whose `openai:` models are there."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Model)
    server.daemon_threads = True
    server.handle_error = lambda *_: None
    server.asked, server.answers = [], []
    url = f"http://127.0.0.1:{server.server_port}/v1"
    site = {"models": {"openai:*": {"base_url": url, "api_key": "${THE_KEY}", "timeout": 4.0, **entry}}}
    (folder / "models.yaml").write_text(json.dumps(site))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()
