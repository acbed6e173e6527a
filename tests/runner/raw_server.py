"""An MCP server written by hand, so that it can do what a proper server never would.

Runs as a stdio server (``python raw_server.py``) or answers single messages for the HTTP tests.
The tool's name says how it behaves. Speaks the handshake era of the protocol.
"""

from __future__ import annotations

import json
import os
import sys
import time

SCHEMA = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
NO_ARGUMENTS = {"type": "object"}

RESULTS = {
    "structured": {"content": [], "structuredContent": {"n": 7}},
    "json_text": {"content": [{"type": "text", "text": '{"n": 8}'}]},
    "plain_text": {"content": [{"type": "text", "text": "hello"}]},
    "nothing": {"content": []},
    "image": {"content": [{"type": "image", "data": "AAAA", "mimeType": "image/png"}]},
    "fails": {"content": [{"type": "text", "text": "no such vendor"}], "isError": True},
    "fails_for_now": {"content": [], "isError": True, "_meta": {"airflow-sop/error-type": "transient"}},
    "breaks_schema": {"content": [], "structuredContent": {"n": "seven"}},
    "omits_structure": {"content": [{"type": "text", "text": "7"}]},
    "not_a_result": {"content": "text"},
    "too_much": {"content": [], "structuredContent": {"n": 1, "pad": "x" * 300_000}},
    "picky": {"content": [], "structuredContent": {"n": 1}},
    "on_page_two": {"content": [], "structuredContent": {"page": 2}},
}
ERRORS = {"invalid_params": -32602, "internal": -32603, "timeout": -32001, "closed": -32000, "odd": -31999}
WITH_SCHEMA = {"structured", "breaks_schema", "omits_structure", "too_much"}


def tool(name):
    described = {"name": name, "inputSchema": SCHEMA if name == "picky" else NO_ARGUMENTS}
    return {**described, "outputSchema": SCHEMA} if name in WITH_SCHEMA else described


def answer(message):
    """The response to a message, None for a notification."""
    method, params = message.get("method"), message.get("params") or {}
    if "id" not in message:
        return None
    if method == "initialize":
        result = {
            "protocolVersion": "2025-06-18",
            "capabilities": {"tools": {}},
            "serverInfo": {"name": "raw", "version": "1"},
        }
    elif method == "tools/list":
        if params.get("cursor"):
            result = {"tools": [tool("on_page_two")]}
        else:
            names = [name for name in (*RESULTS, *ERRORS, "dies", "hangs", "leaks") if name != "on_page_two"]
            result = {"tools": [tool(name) for name in names], "nextCursor": "2"}
    elif method == "tools/call":
        name = params["name"]
        if name in ERRORS:
            return failure(message, ERRORS[name], f"protocol error of {name}")
        result = act(name)
    else:
        return failure(message, -32601, "Method not found")
    return {"jsonrpc": "2.0", "id": message["id"], "result": result}


def failure(message, code, text):
    return {"jsonrpc": "2.0", "id": message["id"], "error": {"code": code, "message": text}}


def act(name):
    if name == "dies":
        os._exit(3)
    if name == "hangs":
        time.sleep(600)
    if name == "leaks":
        print(f"token is {os.environ['TOKEN']}", file=sys.stderr, flush=True)
        return {"content": [], "isError": True, "structuredContent": None} | {
            "content": [{"type": "text", "text": f"bad token {os.environ['TOKEN']}"}]
        }
    return RESULTS[name]


if __name__ == "__main__":
    for line in sys.stdin:
        response = answer(json.loads(line))
        if response is not None:
            print(json.dumps(response), flush=True)
