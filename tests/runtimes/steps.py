"""Steps that run a program, for every runtime whose steps run in the runner's image."""

from __future__ import annotations

from typing import Any

__all__ = ["python", "shell"]


def shell(script: str) -> dict[str, Any]:
    """A step that runs a shell script."""
    return {"command": {"command": ["sh", "-c"], "args": [script]}}


def python(script: str) -> dict[str, Any]:
    """A step that runs a Python program."""
    return {"command": {"command": ["python", "-c"], "args": [script]}}
