"""Names of functions as models know them, for ``<data source>.<tool>`` as SOPs know them.

Models accept letters, digits, ``_`` and ``-``, 64 at most; tools of MCP servers have dots and slashes, and two data
sources may have a tool of one name. A data source's functions hold ``__``, the engine's own never do, so
no server can offer a tool that takes the place of one of ours.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable

__all__ = ["OWN_FUNCTIONS", "function_names"]

OWN_FUNCTIONS = ("report_status", "log_decision", "report_step_result", "report_result")
"""Functions that an agent-centric agent has besides its data sources."""

_LIMIT = 64
_HASH = 8


def function_names(tools: Iterable[str]) -> dict[str, str]:
    """Return a function's name for each ``<data source>.<tool>``, all different."""
    names: dict[str, str] = {}
    for tool in dict.fromkeys(tools):
        source, _, rest = tool.partition(".")
        name = re.sub(r"[^A-Za-z0-9_-]", "_", f"{source}__{rest}")
        if len(name) > _LIMIT or name in names.values():
            digest = hashlib.sha256(tool.encode()).hexdigest()[:_HASH]
            name = f"{name[: _LIMIT - _HASH - 1]}_{digest}"
        names[tool] = name
    return names
