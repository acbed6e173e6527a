"""Turns a server's declared credentials into what an HTTP client sends; the only place where they are resolved.

Whoever opens the connection calls this at that moment, so a secret lives as long as the connection, and in no record.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import httpx2
from mcp.client.auth import TokenStorage
from mcp.client.auth.extensions.client_credentials import ClientCredentialsOAuthProvider
from mcp.shared.auth import OAuthClientInformationFull, OAuthToken

from airflow_sop_provider.fleet.registry import (
    ApiKeyCredential,
    BearerCredential,
    HttpServer,
    OAuthCredential,
    resolve_variables,
)

__all__ = ["Access", "access_to"]


@dataclass(frozen=True)
class Access:
    """How to prove to a server who we are.

    :param auth: for OAuth: gets a token with the first request that needs one and another when it has expired.
    :param secrets: values that must never be written anywhere.
    """

    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    auth: httpx2.Auth | None = field(default=None, repr=False)
    secrets: tuple[str, ...] = field(default=(), repr=False)


def access_to(server: HttpServer, environment: Mapping[str, str] | None = None) -> Access:
    """Resolve the headers and credentials of a server.

    :param environment: where ``${NAME}`` is looked up; None: this process's.
    :raises MissingVariableError: if a variable is not set.
    """
    headers = resolve_variables(server.headers, environment)
    secrets = [value for name, value in headers.items() if value != server.headers[name]]
    auth: httpx2.Auth | None = None
    credential = server.credentials
    if isinstance(credential, BearerCredential):
        token = _resolved(credential.token, environment)
        headers["Authorization"] = f"Bearer {token}"
        secrets.append(token)
    elif isinstance(credential, ApiKeyCredential):
        headers[credential.header] = _resolved(credential.key, environment)
        secrets.append(headers[credential.header])
    elif isinstance(credential, OAuthCredential):
        secret = _resolved(credential.client_secret, environment)
        auth = _oauth(server.url, credential, _resolved(credential.client_id, environment), secret)
        secrets.append(secret)
    return Access(headers, auth, tuple(secrets))


def _resolved(value: str, environment: Mapping[str, str] | None) -> str:
    return resolve_variables({"value": value}, environment)["value"]


def _oauth(url: str, credential: OAuthCredential, client_id: str, secret: str) -> httpx2.Auth:
    return ClientCredentialsOAuthProvider(
        server_url=url,
        storage=_Tokens(),
        client_id=client_id,
        client_secret=secret,
        scope=credential.scope,
        issuer=credential.issuer,
    )


class _Tokens(TokenStorage):
    """Keeps the token in memory: it is short-lived, and another is had for the asking."""

    def __init__(self) -> None:
        self._tokens: OAuthToken | None = None

    async def get_tokens(self) -> OAuthToken | None:
        return self._tokens

    async def set_tokens(self, tokens: OAuthToken) -> None:
        self._tokens = tokens

    async def get_client_info(self) -> OAuthClientInformationFull | None:
        return None  # the client is not registered by us: its id and secret are given

    async def set_client_info(self, client_info: OAuthClientInformationFull) -> None:
        return
