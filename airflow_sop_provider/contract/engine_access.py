"""How a container reaches the engine and proves which attempt it is (design, section 7).

The token is in a file, never in a variable: it is renewed while the attempt runs, and a pod's spec shows no secret.
"""

from __future__ import annotations

__all__ = ["ENGINE_AUDIENCE", "ENGINE_URL", "TOKEN_FILE"]

ENGINE_AUDIENCE = "sop-engine"
"""For whom the token is; whoever else is given it must refuse it."""

ENGINE_URL = "SOP_ENGINE_URL"
"""Variable with the engine's address."""

TOKEN_FILE = "SOP_ENGINE_TOKEN_FILE"  # noqa: S105 - the name of a variable
"""Variable with the path of the token's file; it is read anew for every call, because the token is renewed."""
