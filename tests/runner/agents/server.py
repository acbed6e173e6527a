"""An MCP server whose calls can be counted: it notes each in ``calls.jsonl`` of a folder."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

from mcp.server.mcpserver import MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp.types import ToolAnnotations

FOLDER = Path(sys.argv[1])
server = MCPServer("vendors")


def note(name: str, **arguments: Any) -> None:
    with (FOLDER / "calls.jsonl").open("a") as file:
        file.write(json.dumps([name, arguments]) + "\n")


@server.tool(annotations=ToolAnnotations(read_only_hint=True))
def history(vendor: str) -> dict[str, Any]:
    """Changes of a vendor; what they say is in ``hostile.txt``."""
    note("history", vendor=vendor)
    hostile = FOLDER / "hostile.txt"
    return {"vendor": vendor, "changes": 3, "note": hostile.read_text() if hostile.exists() else "none"}


@server.tool(annotations=ToolAnnotations(read_only_hint=True))
def look() -> dict[str, Any]:
    """Look around: changes nothing."""
    note("look")
    return {"seen": "nothing"}


@server.tool()
def freeze(vendor: str) -> dict[str, Any]:
    """Freeze a vendor: has an effect. Takes as long as ``slow.txt`` says."""
    note("freeze", vendor=vendor)
    slow = FOLDER / "slow.txt"
    time.sleep(float(slow.read_text()) if slow.exists() else 0)
    return {"frozen": vendor}


@server.tool()
def fail() -> str:
    """Fail."""
    note("fail")
    raise ToolError("no such vendor")


server.run()
