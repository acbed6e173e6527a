"""A pod as this room handles it: the API's own JSON, which costs a tenth of the client's models."""

from __future__ import annotations

from typing import Any

__all__ = ["GONE", "Pod"]

Pod = dict[str, Any]
"""A pod as the API writes it."""

GONE = "gone"
"""Set in the metadata of a pod that is no longer there, beside its last state."""
