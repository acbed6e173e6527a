"""MCP over HTTP that answers as `raw_server` does, or misbehaves in one of the ways of real servers and proxies."""

from __future__ import annotations

import json
import socket
import time
from http.server import BaseHTTPRequestHandler

from . import raw_server


class RawHandler(BaseHTTPRequestHandler):
    """What servers of tests share; ``do_POST`` of a subclass decides between `answer` and `misbehave`."""

    protocol_version = "HTTP/1.1"

    def message(self):
        return json.loads(self.rfile.read(int(self.headers["Content-Length"])))

    def answer(self, message, change=lambda response: None):
        """Answer a message; ``change`` may still alter the response."""
        response = raw_server.answer(message)
        if response is None:
            return self.reply(202, b"")
        change(response)
        return self.reply(200, json.dumps(response).encode())

    def misbehave(self, how):
        """Do what ``how`` says: a word below, or a status."""
        if how == "drop":
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)
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
            self.drip()
        elif how == "redirect":
            self.reply(302, b"", headers={"Location": "http://127.0.0.1:9/elsewhere"})
        else:
            self.reply(int(how), b"no")

    def drip(self):
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        for _ in range(30):
            self.wfile.write(b" ")
            self.wfile.flush()
            time.sleep(0.1)
        self.close_connection = True

    def do_GET(self):
        self.reply(405, b"")

    def reply(self, status, body, kind="application/json", headers=None):
        self.send_response(status)
        for name, value in {"Content-Type": kind, "Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        try:
            self.wfile.write(body)
        except OSError:
            self.close_connection = True  # the reader had enough

    def log_message(self, *_):
        pass
