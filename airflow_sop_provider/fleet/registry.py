"""The fleet's registry: which MCP servers exist and how to reach each, read from ``fleet.yaml``.

Declarations and secrets are kept apart: the file names a variable (``${NAME}``), the value stays
in the environment of whoever opens the connection and is resolved at that moment only, so a
`FleetServer` can be logged, compared and stored without leaking one.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

__all__ = [
    "ApiKeyCredential",
    "BearerCredential",
    "Credential",
    "FleetError",
    "FleetRegistry",
    "FleetServer",
    "HttpServer",
    "MissingVariableError",
    "OAuthCredential",
    "StdioServer",
    "load_fleet",
    "resolve_variables",
]

_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")


class FleetError(ValueError):
    """``fleet.yaml`` cannot be used; the message names file, line and remedy."""


class MissingVariableError(FleetError):
    """A variable that ``fleet.yaml`` reads is not set in this environment."""


class _Server(BaseModel):
    """What every server has.

    :param timeout: seconds one call may take, connecting included; None: the step's own timeout.
    :param max_bytes: largest answer that the gateway reads, bytes.
    :param max_calls_per_minute: calls of all executions together in one gateway process; None: no limit.
    :param idempotent_tools: tools that may be called again although the server does not say so (``readOnlyHint``,
        ``idempotentHint``).
    :param record_content: whether the audit log holds arguments and results themselves, beside their digests.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    description: str = ""
    timeout: float | None = Field(default=None, gt=0)
    max_bytes: int = Field(default=4 * 1024 * 1024, ge=1024)
    max_calls_per_minute: int | None = Field(default=None, ge=1)
    idempotent_tools: tuple[str, ...] = ()
    record_content: bool = False


class BearerCredential(BaseModel):
    """A token that is sent as ``Authorization: Bearer``."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["bearer"]
    token: str = Field(min_length=1)


class ApiKeyCredential(BaseModel):
    """A key that is sent in a header of its own."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["api_key"]
    key: str = Field(min_length=1)
    header: str = Field(default="X-API-Key", pattern=r"^[A-Za-z0-9-]+$")


class OAuthCredential(BaseModel):
    """A client of an OAuth authorization server (client credentials grant).

    :param issuer: the authorization server's issuer; the secret is sent there only, wherever the MCP server points.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["oauth_client_credentials"]
    client_id: str = Field(min_length=1)
    client_secret: str = Field(min_length=1)
    issuer: str = Field(pattern=r"^https?://")
    scope: str | None = None


Credential = Annotated[BearerCredential | ApiKeyCredential | OAuthCredential, Field(discriminator="kind")]
"""How we prove to a server who we are; secrets read as ``${NAME}`` are resolved where the connection is opened."""


class StdioServer(_Server):
    """A server that is started and spoken to over its standard input and output: for development.

    :param shared: whether one process of it serves all executions in the gateway; for servers that remember nothing.
    """

    transport: Literal["stdio"]
    command: str = Field(min_length=1)
    args: tuple[str, ...] = ()
    env: dict[str, str] = Field(default_factory=dict)
    shared: bool = False


class HttpServer(_Server):
    """A streamable-HTTP endpoint."""

    transport: Literal["http"]
    url: str = Field(pattern=r"^https?://")
    headers: dict[str, str] = Field(default_factory=dict)
    credentials: Credential | None = None


FleetServer = Annotated[StdioServer | HttpServer, Field(discriminator="transport")]
"""One server of the fleet; ``transport`` says which kind."""


class FleetRegistry(BaseModel):
    """All servers of the fleet by name."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    servers: dict[str, FleetServer]

    def server(self, name: str) -> StdioServer | HttpServer:
        """Return a server by name.

        :raises FleetError: if the fleet has no such server; the message lists those it has.
        """
        if name not in self.servers:
            known = ", ".join(sorted(self.servers)) or "none"
            raise FleetError(f"The fleet has no server `{name}` (it has: {known}). Add it to fleet.yaml.")
        return self.servers[name]


def load_fleet(path: Path) -> FleetRegistry:
    """Read and check ``fleet.yaml``.

    :raises FleetError: if it cannot be read, is not YAML or does not describe servers.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise FleetError(f"{path}: cannot be read: {error}") from error
    try:
        node = yaml.compose(text, Loader=_Loader)
        document = yaml.load(text, Loader=_Loader)  # noqa: S506 - _Loader is a safe loader
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        place = f"{path}:{mark.line + 1}:{mark.column + 1}" if mark else str(path)
        raise FleetError(f"{place}: not valid YAML: {error.problem or error}") from error
    try:
        return TypeAdapter(FleetRegistry).validate_python(document)
    except ValidationError as error:
        lines = [_describe(path, node, dict(problem)) for problem in error.errors(include_url=False)]
        raise FleetError("\n".join(lines)) from error


def resolve_variables(values: Mapping[str, str], environment: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return ``values`` with each ``${NAME}`` replaced from the environment.

    :raises MissingVariableError: if a variable is not set; only names are in the message, never values.
    """
    source = os.environ if environment is None else environment

    def replace(match: re.Match[str]) -> str:
        name = match.group(1)
        if name not in source:
            raise MissingVariableError(f"fleet.yaml reads `${{{name}}}`, which is not set. Set it for the runner.")
        return source[name]

    return {key: _VARIABLE.sub(replace, value) for key, value in values.items()}


_Loader: type[Any] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""libyaml's loader where it is installed: an order of magnitude faster at the start of every tool step."""


_TAGS = ("stdio", "http", "bearer", "api_key", "oauth_client_credentials")
"""What pydantic puts into a location for a kind that was chosen; the document has no such key."""


def _describe(path: Path, root: yaml.Node | None, problem: dict[str, Any]) -> str:
    location = problem["loc"]
    line = _line_of(root, location)
    where = ".".join(str(part) for part in location if part not in _TAGS) or "document"
    return f"{path}:{line}: `{where}`: {problem['msg']}"


def _line_of(node: yaml.Node | None, location: tuple[int | str, ...]) -> int:
    """Return the line (from 1) of the innermost part of ``location`` that the document has."""
    line = 1 if node is None else node.start_mark.line + 1
    for part in location:
        child = None
        if isinstance(node, yaml.MappingNode):
            child = next(((key, value) for key, value in node.value if key.value == str(part)), None)
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
            child = (node.value[part], node.value[part])
        if child is not None:  # a part without a node is the discriminator's tag, or the missing key itself
            line, node = child[0].start_mark.line + 1, child[1]
    return line
