"""How a container reaches the engine and proves which attempt it is (design, section 7).

The token is in a file, never in a variable: it is renewed while the attempt runs, and a pod's spec shows no secret.
"""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["ENGINE_AUDIENCE", "ENGINE_URL", "FLEET_URL", "TOKEN_FILE", "access_event", "fleet_address"]

ENGINE_AUDIENCE = "sop-engine"
"""For whom the token is; whoever else is given it must refuse it."""

ENGINE_URL = "SOP_ENGINE_URL"
"""Variable with the engine's address."""

FLEET_URL = "SOP_FLEET_URL"
"""Variable with the address of the fleet's gateway, where that is no part of the engine's app."""

TOKEN_FILE = "SOP_ENGINE_TOKEN_FILE"  # noqa: S105 - the name of a variable
"""Variable with the path of the token's file; it is read anew for every call, because the token is renewed."""


def fleet_address(environ: Mapping[str, str]) -> str | None:
    """Return below which address the gateway serves, None for a container that knows neither it nor an engine."""
    own, engine = environ.get(FLEET_URL), environ.get(ENGINE_URL)
    if own:
        return own.rstrip("/")
    return f"{engine.rstrip('/')}/fleet" if engine else None


def access_event(environ: Mapping[str, str]) -> str:
    """Return what a runner calls the event of a call to a data source.

    ``data.access`` is the record of the access, and there is one of each. The gateway writes it where there is one,
    before a result leaves it and beyond the runner's reach; the runner then says ``tool.call``: what came to the step,
    by digest, so that the two can be held against each other. A runner that calls the server itself writes the record.
    """
    return "data.access" if fleet_address(environ) is None else "tool.call"
