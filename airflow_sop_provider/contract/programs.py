"""How a program is started that must not outlive its starter: a step's command, a stdio MCP server.

Both the runner and the fleet's gateway start such programs, and both must find them alike: a bare name is looked
for beside the running Python first, because a virtual environment that is not on PATH still has its own scripts.
"""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

from airflow_sop_provider.contract.portable import INTERPRETER, LOADER, own_python

__all__ = ["INHERITED", "ProgramNotFoundError", "guarded_argv", "portable_copy"]

INHERITED = ("HOME", "LANG", "LC_ALL", "LOGNAME", "PATH", "SHELL", "SOP_ATTEMPT", "TERM", "TMPDIR", "TZ", "USER")
"""Variables a started program gets; nothing else of ours, which may hold the fleet's credentials."""

_GUARD = str(Path(__file__).with_name("guard.py"))


class ProgramNotFoundError(FileNotFoundError):
    """There is no such program where it is looked for."""


def guarded_argv(program: str, arguments: list[str]) -> list[str]:
    """Return the argument vector that starts ``program`` so that it dies with this process.

    :raises ProgramNotFoundError: if there is no such program. In a container of another image only its PATH counts.
    """
    copy = portable_copy()
    own = [] if copy else [str(Path(sys.executable).parent)]
    found = shutil.which(program, path=os.pathsep.join([*own, os.environ.get("PATH") or os.defpath]))
    if found is None:
        raise ProgramNotFoundError(f"There is no program `{program}` here. Install it or correct its name.")
    python = own_python(copy) if copy else [sys.executable]
    return [*python, "-I", "-S", _GUARD, str(os.getpid()), str(Path(found).absolute()), *arguments]


def portable_copy() -> str | None:
    """Return the folder of the copy that this Python is part of, None if it is no copy (`contract.portable`)."""
    folder = sys.executable.removesuffix(f"/{INTERPRETER}")
    return folder if folder != sys.executable and os.path.exists(f"{folder}/{LOADER}/ld.so") else None
