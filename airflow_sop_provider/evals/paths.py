"""JSON paths (RFC 9535) into the outputs of an execution's steps."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any, cast

from jsonpath import JSONPath, JSONPathError, compile

__all__ = ["MISSING", "compile_path", "select"]

MISSING = object()
"""What a path gives that leads nowhere."""


@functools.lru_cache(maxsize=1024)
def compile_path(path: str) -> JSONPath:
    """Return a compiled path; `$.` may be left out.

    :raises ValueError: it is no JSON path.
    """
    text = path if path.startswith("$") else f"$.{path}"
    try:
        return cast("JSONPath", compile(text))
    except JSONPathError as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f"`{path[:80]}` is no JSON path into the outputs: {reason}") from error


def select(path: str, outputs: Mapping[str, Any]) -> Any:
    """Return what a path selects: the one value of a path that names one, a list of all for others.

    :returns: `MISSING` where a path that names one value leads nowhere.
    """
    compiled = compile_path(path)
    try:
        found = compiled.findall(outputs)
    except JSONPathError:
        return MISSING
    if not compiled.singular_query():
        return found
    return found[0] if found else MISSING
