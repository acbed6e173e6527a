"""A tool's definition as a digest, so that a server cannot change unnoticed what an SOP was validated against."""

from __future__ import annotations

import hashlib
from typing import Any

from mcp.types import Tool

from airflow_sop_provider.audit.canonical import canonical, jsonable

__all__ = ["definition_of", "digest_of"]


def definition_of(tool: Tool) -> dict[str, Any]:
    """Return what a caller relies on: name, description, schemas and hints."""
    full = tool.model_dump(mode="json", by_alias=True, exclude_none=True)
    kept = ("name", "title", "description", "inputSchema", "outputSchema", "annotations")
    definition: dict[str, Any] = jsonable({key: full[key] for key in kept if key in full})
    return definition


def digest_of(value: Any) -> str:
    """Return the SHA-256 (hex) of a JSON value in canonical form."""
    return hashlib.sha256(canonical(jsonable(value))).hexdigest()
