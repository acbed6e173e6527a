"""MCP server for the installed Python environment: real data for SOPs wherever the project runs.

A program of its own: the fleet starts it over stdio for one call, or it stays up as a
streamable-HTTP endpoint on the loopback interface. Tools and result shapes: README.md here.
"""

from __future__ import annotations

import argparse
import gc
from pathlib import Path

__all__ = ["main"]


def main(argv: list[str] | None = None) -> None:
    """Run the server until its input ends (stdio) or it is stopped (``--http``)."""
    parser = argparse.ArgumentParser(prog="sop-mcp-python-environment", description=__doc__)
    parser.add_argument("--path", type=Path, help="serve the distributions below this site-packages folder")
    parser.add_argument("--http", metavar="HOST:PORT", help="serve streamable HTTP at /mcp instead of stdio")
    options = parser.parse_args(argv)
    if options.path is not None and not options.path.is_dir():
        parser.error(f"--path {options.path} is not a folder")
    gc.disable()  # importing MCP makes many objects and no garbage; collecting meanwhile doubles the CPU time
    from airflow_sop_provider.fleet.servers.python_environment_tools import build_server

    gc.enable()
    server = build_server(options.path)
    if options.http is None:
        server.run("stdio")
        return
    host, _, port = options.http.rpartition(":")
    if not host or not port.isdigit():
        parser.error(f"--http wants HOST:PORT, for example 127.0.0.1:8765, not {options.http!r}")
    server.run("streamable-http", host=host, port=int(port))


if __name__ == "__main__":
    main()
