"""`sop fleet`: which MCP servers there are, what tools they have, and whether they answer.

For people who write SOPs or run the fleet: it opens the connections itself, with the credentials of this shell, and
through the same sessions as the gateway, so what works here works there.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from airflow_sop_provider.fleet.call_failures import CallFailedError
from airflow_sop_provider.fleet.registry import FleetError, FleetRegistry, HttpServer, StdioServer, load_fleet
from airflow_sop_provider.fleet.sessions import Session
from airflow_sop_provider.fleet.snapshots import definition_of, digest_of
from airflow_sop_provider.fleet.sop_check import Fleet, Tools

__all__ = ["list_servers", "list_tools", "test_servers", "tools_of_fleet"]


def list_servers(path: Path, *, as_json: bool) -> None:
    """Print the servers of a fleet.yaml; secrets stand there as names of variables, and so they are printed nowhere."""
    servers = [_described(name, server) for name, server in sorted(_fleet(path).servers.items())]
    if as_json:
        click.echo(json.dumps({"servers": servers}))
        return
    for server in servers:
        click.echo(f"{server['name']}  {server['transport']}  {server['endpoint']}  {server['description']}".rstrip())


def list_tools(path: Path, name: str, *, as_json: bool) -> None:
    """Print the tools of a server."""
    try:
        server = _fleet(path).server(name)
        tools = asyncio.run(_tools(name, server))
    except (FleetError, CallFailedError) as error:
        raise click.ClickException(str(error)) from error
    if as_json:
        click.echo(json.dumps({"server": name, "tools": tools}))
        return
    for tool in tools:
        first_line = (tool.get("description") or "").partition("\n")[0]
        click.echo(f"{tool['name']}  {tool['digest'][:12]}  {first_line}".rstrip())


def test_servers(path: Path, names: tuple[str, ...], *, as_json: bool) -> int:
    """Connect to servers and list their tools; return 1 if one cannot be used."""
    fleet = _fleet(path)
    results = asyncio.run(_tested(fleet, names or tuple(sorted(fleet.servers))))
    if as_json:
        click.echo(json.dumps({"servers": results}))
    else:
        for result in results:
            text = f"{result['tools']} tools in {result['seconds']} s" if result["ok"] else result["error"]
            click.echo(f"{'ok  ' if result['ok'] else 'FAIL'}  {result['name']}  {text}")
    return 0 if all(result["ok"] for result in results) else 1


def tools_of_fleet(path: Path) -> Callable[[set[str]], Fleet]:
    """Return what tells the tools of servers; each is asked once, those asked for together at once."""
    fleet = _fleet(path)
    asked: dict[str, Tools | str] = {}

    async def one(name: str) -> None:
        try:
            asked[name] = {tool["name"]: tool for tool in await _tools(name, fleet.server(name))}
        except (FleetError, CallFailedError) as error:
            asked[name] = str(error)

    async def all_of(names: set[str]) -> None:
        await asyncio.gather(*(one(name) for name in names))

    def ask(names: set[str]) -> Fleet:
        if new := {name for name in names if name in fleet.servers} - asked.keys():
            asyncio.run(all_of(new))
        return {name: asked.get(name, {}) for name in fleet.servers}

    return ask


def _fleet(path: Path) -> FleetRegistry:
    try:
        return load_fleet(path)
    except FleetError as error:
        raise click.ClickException(str(error)) from error


def _described(name: str, server: HttpServer | StdioServer) -> dict[str, Any]:
    http = isinstance(server, HttpServer)
    endpoint = server.url if isinstance(server, HttpServer) else " ".join((server.command, *server.args))
    credential = server.credentials.kind if isinstance(server, HttpServer) and server.credentials else None
    return {
        "name": name, "transport": "http" if http else "stdio", "endpoint": endpoint, "credentials": credential,
        "timeout": server.timeout, "description": server.description,
    }  # fmt: skip


async def _tools(name: str, server: HttpServer | StdioServer) -> list[dict[str, Any]]:
    session = Session(name, server)
    try:
        await session.open()
        definitions = [definition_of(tool) for tool in (await session.tools()).values()]
    finally:
        await session.close()
    return [{**definition, "digest": digest_of(definition)} for definition in definitions]


async def _tested(fleet: FleetRegistry, names: tuple[str, ...]) -> list[dict[str, Any]]:
    return list(await asyncio.gather(*(_one(fleet, name) for name in names)))


async def _one(fleet: FleetRegistry, name: str) -> dict[str, Any]:
    started = time.monotonic()
    try:
        tools = await _tools(name, fleet.server(name))
    except (FleetError, CallFailedError) as error:
        code = error.code if isinstance(error, CallFailedError) else "fleet"
        return {"name": name, "ok": False, "code": code, "error": str(error)}
    return {"name": name, "ok": True, "tools": len(tools), "seconds": round(time.monotonic() - started, 2)}
