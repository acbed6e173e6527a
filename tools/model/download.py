"""Fetches one named distribution with pip, as data: nothing is installed.

pip alone can do it (`uv` has no `download`). It comes with Python's own venv, in a small environment in the cache.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from tools.model.problems import ModelProblem

__all__ = ["Download", "pip_download"]

Download = Callable[[str, Path], Path]
"""From ``name==version`` and a folder to the file in it."""


def pip_download(cache: Path) -> Download:
    """Return a function that fetches with pip.

    :param cache: where pip's environment is made if it is not there.
    """

    def download(requirement: str, folder: Path) -> Path:
        into = folder / requirement.partition("==")[0]
        into.mkdir(exist_ok=True)
        command = [str(_pip(cache)), "download", "--quiet", "--no-deps", "--no-cache-dir", "--dest", str(into)]
        _call([*command, requirement], f"fetch {requirement}")
        (file,) = into.iterdir()
        return file

    return download


def _pip(cache: Path) -> Path:
    home = cache / f"pip-python{sys.version_info[0]}.{sys.version_info[1]}"
    program = home / "bin" / "pip"
    if not program.exists():
        _call([sys.executable, "-m", "venv", "--clear", str(home)], "make an environment for pip")
    return program


def _call(command: list[str], what: str) -> None:
    environment = {**os.environ, "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        line = ((done.stderr or done.stdout).strip().splitlines() or ["no output"])[-1]
        raise ModelProblem(f"cannot {what}: {line} - check access to the package registry.")
