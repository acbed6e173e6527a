"""An MCP server to be called in benchmarks: the official one, with a tool that only looks and costs nothing.

``python -m benchmarks.fleet_server PORT`` serves it at ``/bench/mcp``, on loopback.
"""

from __future__ import annotations

import sys

import uvicorn
from mcp.server.mcpserver import MCPServer
from mcp.types import ToolAnnotations
from pydantic import BaseModel

__all__ = ["NAME", "TOOL", "main"]

NAME = "bench"
TOOL = "echo"


class Echo(BaseModel):
    """What the tool gives back."""

    text: str


def main(port: int) -> None:
    """Serve until the process is ended."""
    server = MCPServer("bench", log_level="WARNING")

    @server.tool(annotations=ToolAnnotations(read_only_hint=True))
    def echo(text: str) -> Echo:
        """Return the text."""
        return Echo(text=text)

    app = server.streamable_http_app(streamable_http_path=f"/{NAME}/mcp", json_response=True)
    uvicorn.run(app, host="127.0.0.1", port=port, log_level="warning", access_log=False)


if __name__ == "__main__":
    main(int(sys.argv[1]))
