"""Finds and guards the programs a step starts: commands and stdio MCP servers."""

from __future__ import annotations

import os

from airflow_sop_provider.contract.programs import INHERITED, ProgramNotFoundError, guarded_argv, portable_copy
from airflow_sop_provider.runner.failures import bad_configuration

__all__ = ["INHERITED", "guarded", "in_another_image", "inherited_environment"]

_OURS = "SOP_"
"""Prefix of the variables with which a runtime speaks to the runner."""


def guarded(program: str, arguments: list[str], code: str) -> list[str]:
    """Return the argument vector that starts ``program`` so that it dies with this process.

    :raises StepFailureError: exit 78 (``code``) if there is no such program.
    """
    try:
        return guarded_argv(program, arguments)
    except ProgramNotFoundError as error:
        raise bad_configuration(code, str(error)) from error


def inherited_environment() -> dict[str, str]:
    """Return the variables of this process that a program it starts may see.

    In a container of another image those are the image's own, all of them: its runtime adds only variables of ours.
    """
    if in_another_image():
        return {name: value for name, value in os.environ.items() if not name.startswith(_OURS)}
    return {name: os.environ[name] for name in INHERITED if name in os.environ}


def in_another_image() -> bool:
    """Return whether this runner is a copy, brought into a container of a step's own image."""
    return portable_copy() is not None
