"""Airflow connections of type ``mcp``: a server of the fleet that somebody adds in the UI.

The connection's id is the server's name in SOPs. Its password is the secret, whatever the kind of credential; it is
read by the gateway when a session is opened and by nobody else. Only streamable HTTP: what starts programs on the
API server's machine is no business of a form.
"""

from __future__ import annotations

import asyncio
from typing import Any

from airflow.sdk import BaseHook
from pydantic import TypeAdapter, ValidationError

from airflow_sop_provider.fleet.call_failures import CallFailedError
from airflow_sop_provider.fleet.registry import FleetError, HttpServer
from airflow_sop_provider.fleet.sessions import Session

__all__ = ["McpHook", "server_of_connection"]

_PLAIN = ("timeout", "max_calls_per_minute", "record_content")


def server_of_connection(connection: Any) -> HttpServer:
    """Return the fleet's server that a connection describes.

    ``host`` is the URL, ``extra`` has ``auth`` (``none``, ``bearer``, ``api_key``, ``oauth``) and what that needs.

    :raises FleetError: if it describes none; the message never has the secret in it.
    """
    extra = connection.extra_dejson
    fields = {name: extra[name] for name in _PLAIN if extra.get(name) is not None}
    text = {"transport": "http", "url": _url(connection), "description": connection.description or "", **fields}
    credentials = _credentials(connection, extra)
    try:
        return TypeAdapter(HttpServer).validate_python({**text, "credentials": credentials})
    except ValidationError as error:
        problems = "; ".join(f"{'.'.join(map(str, at['loc']))}: {at['msg']}" for at in error.errors())
        raise FleetError(f"The connection `{connection.conn_id}` describes no MCP server: {problems}") from None


class McpHook(BaseHook):
    """An MCP server by its connection.

    :param mcp_conn_id: the connection, which is the server's name in the fleet.
    """

    conn_name_attr = "mcp_conn_id"
    default_conn_name = "mcp_default"
    conn_type = "mcp"
    hook_name = "MCP server"

    def __init__(self, mcp_conn_id: str = default_conn_name) -> None:
        super().__init__()
        self.mcp_conn_id = mcp_conn_id

    def get_conn(self) -> HttpServer:
        """Return the server as the fleet knows it.

        :raises FleetError: the connection describes none.
        """
        return server_of_connection(self.get_connection(self.mcp_conn_id))

    def test_connection(self) -> tuple[bool, str]:
        """Connect and list the tools: Airflow's button `Test`."""
        try:
            count = asyncio.run(_count_tools(self.mcp_conn_id, self.get_conn()))
        except (FleetError, CallFailedError) as error:
            return False, str(error)
        return True, f"The server answers and has {count} tools."


async def _count_tools(name: str, server: HttpServer) -> int:
    session = Session(name, server)
    try:
        await session.open()
        return len(await session.tools())
    finally:
        await session.close()


def _url(connection: Any) -> str:
    host = connection.host or ""
    if "://" in host:
        return str(host)
    port = f":{connection.port}" if connection.port else ""
    return f"{connection.schema or 'https'}://{host}{port}"


def _credentials(connection: Any, extra: dict[str, Any]) -> dict[str, Any] | None:
    secret = connection.password or ""
    kind = extra.get("auth") or ("bearer" if secret else "none")
    if kind == "none":
        return None
    # a secret of a connection is taken as it is: it has no variables to be replaced
    if "${" in secret:
        raise FleetError(
            f"The password of the connection `{connection.conn_id}` has `${{` in it, which is not supported."
        )
    if kind == "bearer":
        return {"kind": "bearer", "token": secret}
    if kind == "api_key":
        return {"kind": "api_key", "key": secret, "header": extra.get("header") or "X-API-Key"}
    if kind == "oauth":
        return {
            "kind": "oauth_client_credentials", "client_id": connection.login or "", "client_secret": secret,
            "issuer": extra.get("issuer") or "", "scope": extra.get("scope"),
        }  # fmt: skip
    raise FleetError(
        f"The connection `{connection.conn_id}` has auth `{kind}`; it must be none, bearer, api_key or oauth."
    )
