"""Finds and guards the programs a step starts: commands and stdio MCP servers."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

from airflow_sop_provider.contract.portable import INTERPRETER, LOADER, own_python
from airflow_sop_provider.runner.failures import bad_configuration

__all__ = ["INHERITED", "guarded", "in_another_image", "inherited_environment"]

INHERITED = ("HOME", "LANG", "LC_ALL", "LOGNAME", "PATH", "SHELL", "SOP_ATTEMPT", "TERM", "TMPDIR", "TZ", "USER")
"""Variables a started program gets; nothing else of ours, which may hold the fleet's credentials."""

_OURS = "SOP_"
"""Prefix of the variables with which a runtime speaks to the runner."""

_GUARD = str(Path(__file__).with_name("guard.py"))


def guarded(program: str, arguments: list[str], code: str) -> list[str]:
    """Return the argument vector that starts ``program`` so that it dies with this process.

    A bare name is looked for beside the running Python first: a virtual environment that is not
    on PATH still finds its own scripts. In a container of another image only the image's PATH counts.

    :raises StepFailureError: exit 78 (``code``) if there is no such program.
    """
    copy = _copy()
    own = [] if copy else [str(Path(sys.executable).parent)]
    found = shutil.which(program, path=os.pathsep.join([*own, os.environ.get("PATH") or os.defpath]))
    if found is None:
        raise bad_configuration(code, f"There is no program `{program}` here. Install it or correct its name.")
    python = own_python(copy) if copy else [sys.executable]
    return [*python, "-I", "-S", _GUARD, str(os.getpid()), str(Path(found).absolute()), *arguments]


def inherited_environment() -> dict[str, str]:
    """Return the variables of this process that a program it starts may see.

    In a container of another image those are the image's own, all of them: its runtime adds only variables of ours.
    """
    if in_another_image():
        return {name: value for name, value in os.environ.items() if not name.startswith(_OURS)}
    return {name: os.environ[name] for name in INHERITED if name in os.environ}


def in_another_image() -> bool:
    """Return whether this runner is a copy, brought into a container of a step's own image."""
    return _copy() is not None


def _copy() -> str | None:
    """Return the folder of the copy that this Python is part of."""
    folder = sys.executable.removesuffix(f"/{INTERPRETER}")
    return folder if folder != sys.executable and os.path.exists(f"{folder}/{LOADER}/ld.so") else None
