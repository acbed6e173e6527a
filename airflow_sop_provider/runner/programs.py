"""Finds and guards the programs a step starts: commands and stdio MCP servers."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

from airflow_sop_provider.runner.failures import bad_configuration

__all__ = ["INHERITED", "guarded", "inherited_environment"]

INHERITED = ("HOME", "LANG", "LC_ALL", "LOGNAME", "PATH", "SHELL", "SOP_ATTEMPT", "TERM", "TMPDIR", "TZ", "USER")
"""Variables a started program gets; nothing else of ours, which may hold the fleet's credentials."""

_GUARD = str(Path(__file__).with_name("guard.py"))


def guarded(program: str, arguments: list[str], code: str) -> list[str]:
    """Return the argument vector that starts ``program`` so that it dies with this process.

    A bare name is looked for beside the running Python first: a virtual environment that is not
    on PATH still finds its own scripts.

    :raises StepFailureError: exit 78 (``code``) if there is no such program.
    """
    found = shutil.which(program, path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}")
    if found is None:
        raise bad_configuration(code, f"There is no program `{program}` here. Install it or correct its name.")
    return [sys.executable, "-I", "-S", _GUARD, str(os.getpid()), str(Path(found).absolute()), *arguments]


def inherited_environment() -> dict[str, str]:
    """Return the variables of this process that a program it starts may see."""
    return {name: os.environ[name] for name in INHERITED if name in os.environ}
