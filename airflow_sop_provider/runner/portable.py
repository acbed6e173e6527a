"""Copies the runner with its Python and its libraries, so that it starts in a container of any other image.

``python -m airflow_sop_provider.runner.portable FOLDER``. What is copied is what this very process has loaded after it
imported all that a command needs, and the whole standard library: the same wherever the runner's image came from.
MCP, the fleet's client, is left out: a container of another image has no data sources.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import shutil
import sys
import sysconfig
import tempfile
from collections.abc import Iterator
from pathlib import Path

from airflow_sop_provider.contract.portable import COPY, INTERPRETER, LOADER, PACKAGES

__all__ = ["copy_runner", "main"]

_NEEDED = (
    "airflow_sop_provider.contract.assignment",
    "airflow_sop_provider.runner.attempt",
    "airflow_sop_provider.runner.command",
    "airflow_sop_provider.runner.main",
    "airflow_sop_provider.runner.outputs",
    "airflow_sop_provider.runner.reporting",
    "airflow_sop_provider.runner.steps",
    "airflow_sop_provider.sop.expressions",
    "jsonschema.validators",
    "referencing.exceptions",
)
"""What a command's runner may import, however late."""
_NO_USE = frozenset({"_curses", "_curses_panel", "_tkinter", "audioop", "nis", "ossaudiodev", "readline", "spwd"})
"""Extensions of the standard library whose C libraries are not copied: of terminals, windows, and what Python drops."""
_LEFT_OUT = ("__pycache__", "config-*", "ensurepip", "idlelib", "lib2to3", "site-packages", "dist-packages", "test")
"""Of the standard library: what belongs to other packages, to tests, to a compiler; and byte code, which doubles the
number of files."""


def copy_runner(folder: Path) -> Path:
    """Copy the running runner into ``folder`` unless a copy is there; return the copy's folder.

    The copy appears complete or not at all, whoever else is copying.

    :raises OSError: it could not be written.
    :raises RuntimeError: this is no Linux with a loader, so it cannot be copied.
    """
    done = folder / COPY
    if done.exists():
        return done
    libraries = list(_loaded_libraries())
    unfinished = Path(tempfile.mkdtemp(prefix="unfinished-", dir=folder))
    try:
        unfinished.chmod(0o755)
        _copy_libraries(libraries, unfinished / LOADER)
        _copy_python(unfinished)
        _copy_packages(unfinished / PACKAGES)
        with contextlib.suppress(OSError):  # another was faster, with the same
            unfinished.rename(done)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    if not done.exists():
        raise OSError(f"the copy could not be moved to {done}")
    return done


def main() -> None:
    """Copy the runner into the folder that is the only argument."""
    copy_runner(Path(sys.argv[1]))


def _loaded_libraries() -> Iterator[Path]:
    """Import what the runner may need, and give every C library that this has loaded, the loader among them."""
    standard = Path(sysconfig.get_path("stdlib"))
    extensions = {path.name.partition(".")[0] for path in (standard / "lib-dynload").glob("*.so")}
    for name in (extensions & sys.stdlib_module_names) - _NO_USE:
        with contextlib.suppress(ImportError):  # its library is not on this host, so nobody can use it
            importlib.import_module(name)
    for name in _NEEDED:
        importlib.import_module(name)
    own = (str(standard), *(str(path) for path in _packages()))
    with open("/proc/self/maps", encoding="utf-8") as maps:
        paths = {line.split(maxsplit=5)[5].rstrip("\n") for line in maps if len(line.split(maxsplit=5)) == 6}
    for path in sorted(paths):
        if ".so" in os.path.basename(path) and not path.startswith(own):
            yield Path(path)


def _packages() -> set[Path]:
    """Return the packages and modules outside the standard library that are loaded, by their outermost names."""
    standard = sysconfig.get_path("stdlib")
    names = {name.partition(".")[0] for name in sys.modules} - sys.stdlib_module_names - {"__main__"}
    found = set()
    for name in names:
        file = getattr(sys.modules.get(name), "__file__", None)
        if file is None or (file.startswith(standard) and "-packages" not in file):
            continue
        path = Path(file)
        found.add(path.parent if path.name.startswith("__init__.") else path)
    return found


def _copy_libraries(libraries: list[Path], target: Path) -> None:
    """Copy C libraries under the names by which others ask for them."""
    target.mkdir(parents=True)
    for path in libraries:
        shutil.copy(path, target / path.name)
        for alias in path.parent.iterdir():  # libexpat.so.1 -> libexpat.so.1.8.10; only the latter is mapped
            if alias.is_symlink() and alias.resolve() == path and not (target / alias.name).exists():
                (target / alias.name).symlink_to(path.name)
    loaders = [path.name for path in libraries if path.name.startswith("ld-")]
    if len(loaders) != 1:
        raise RuntimeError(f"the loader of this Python's programs is not among what it has loaded ({loaders})")
    if not (target / "ld.so").exists():
        (target / "ld.so").symlink_to(loaders[0])


def _copy_python(target: Path) -> None:
    interpreter = target / INTERPRETER
    interpreter.parent.mkdir(parents=True)
    shutil.copy(Path(sys.executable).resolve(), interpreter)
    standard = Path(sysconfig.get_path("stdlib"))
    shutil.copytree(
        standard,
        interpreter.parents[1] / "lib" / f"python{sys.version_info.major}.{sys.version_info.minor}",
        ignore=shutil.ignore_patterns(*_LEFT_OUT),
        ignore_dangling_symlinks=True,
    )


def _copy_packages(target: Path) -> None:
    target.mkdir()
    for path in _packages():
        if path.is_dir():
            shutil.copytree(path, target / path.name)
        else:
            shutil.copy2(path, target)


if __name__ == "__main__":
    main()
