"""How a container reaches the engine and proves which attempt it is (design, section 7).

The token is in a file, never in a variable: it is renewed while the attempt runs, and a pod's spec shows no secret.
"""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["ENGINE_AUDIENCE", "ENGINE_URL", "FLEET_URL", "TOKEN_FILE", "fleet_address"]

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
