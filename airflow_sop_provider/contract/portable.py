"""The runner in a container of another image: where its copy is, and how it is started there.

A step's image has its program and maybe nothing else: no Python, no shell, another C library. So the runner brings
its own Python with every library and the loader that starts it, in a folder that no image has. `runner.portable`
makes the copy; runtimes bring it into the container and start it with `start_command`.
"""

from __future__ import annotations

__all__ = [
    "COPY",
    "COPY_MODULE",
    "IMAGE_PROGRAM",
    "INTERPRETER",
    "LOADER",
    "PACKAGES",
    "RUNNER_FOLDER",
    "own_python",
    "start_command",
]

RUNNER_FOLDER = "/run/sop-runner"
"""Where a container of another image has the copy; what makes the copy mounts the same volume there."""

COPY_MODULE = "airflow_sop_provider.runner.portable"
"""``python -m COPY_MODULE FOLDER`` copies the runner that executes it into FOLDER."""

IMAGE_PROGRAM = "SOP_IMAGE_PROGRAM"
"""Variable with what the image itself would start, where a runtime knows: ``{"entrypoint": [...], "cmd": [...]}``."""

COPY = "runner"
"""Name of the copy in FOLDER; it appears there complete."""
LOADER = "loader"
"""Folder of the loader and of the C libraries, in the copy."""
INTERPRETER = "python/bin/sop-python"
"""Python's executable in the copy; a name that no step means when it says ``python``."""
PACKAGES = "packages"
"""Folder of Python's packages in the copy."""


def own_python(copy: str) -> list[str]:
    """Return how the Python of a copy is started, whatever the image's own C library is."""
    libraries = f"{copy}/{LOADER}"
    return [f"{libraries}/ld.so", "--inhibit-cache", "--library-path", libraries, f"{copy}/{INTERPRETER}"]


def start_command(folder: str = RUNNER_FOLDER) -> list[str]:
    """Return the program and arguments that start the runner copied into ``folder``.

    Isolated (``-I``), because the image may set variables that are meant for a Python of its own.
    """
    copy = f"{folder}/{COPY}"
    start = f"{copy}/{PACKAGES}/airflow_sop_provider/runner/portable_start.py"
    return [*own_python(copy), "-I", "-S", "-B", "-u", start]
