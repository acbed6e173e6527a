"""Check every SOP under a folder, one at a time, in a fixed order.

Only what must be compared across files is kept: the ids seen and where. So a folder of thousands
of files needs no more memory than its largest file, and a caller can show progress.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator
from pathlib import Path

from airflow_sop_provider.sop.loaded import CheckResult
from airflow_sop_provider.sop.loader import check_file
from airflow_sop_provider.sop.problems import Problem
from airflow_sop_provider.sop.source import Source
from airflow_sop_provider.sop.yaml_nodes import parse, place_of

__all__ = ["SUFFIXES", "check_folder", "find_files", "refuse_second"]

SUFFIXES = frozenset({".yaml", ".yml"})
"""File name endings of SOPs, lower case."""


def find_files(folder: Path) -> list[Path]:
    """Return the SOP files under a folder, sorted by path.

    Names that start with a dot are left out, and folders are not entered through symbolic links:
    what they hold inside `folder` is found where it is, and outside is none of it.

    :raises OSError: `folder` cannot be listed.
    """
    found: list[Path] = []
    pending = [folder]
    while pending:
        current = pending.pop()
        try:
            entries = [entry for entry in os.scandir(current) if not entry.name.startswith(".")]
        except OSError:
            if current == folder:
                raise
            found.append(current)  # reading it as a file says what is wrong, and the others go on
            continue
        pending += [Path(entry.path) for entry in entries if entry.is_dir(follow_symlinks=False)]
        found += [Path(entry.path) for entry in entries if _is_sop_file(entry)]
    return sorted(found)


def _is_sop_file(entry: os.DirEntry[str]) -> bool:
    if os.path.splitext(entry.name)[1].lower() not in SUFFIXES:
        return False
    try:
        return not entry.is_dir()
    except OSError:  # links in a circle: reading it says so
        return True


def check_folder(folder: Path) -> Iterator[CheckResult]:
    """Yield the result of each SOP file under a folder, in the order of their paths.

    A file that is a symbolic link to outside the folder is refused unread. Of two files with one
    id the first keeps it; the other gets the problem ``duplicate-id``.

    :raises OSError: `folder` cannot be listed.
    """
    inside = folder.resolve()
    seen: dict[str, str] = {}
    for path in find_files(folder):
        if path.is_symlink() and not _leads_inside(path, inside):
            yield CheckResult(str(path), None, (_outside(path),))
            continue
        result = check_file(path)
        if result.loaded is not None:
            first = seen.setdefault(result.loaded.sop.sop, str(path))
            if first != str(path):
                yield refuse_second(result, first)
                continue
        yield result


def _leads_inside(path: Path, inside: Path) -> bool:
    try:
        return path.resolve(strict=True).is_relative_to(inside)
    except (OSError, RuntimeError):
        return True  # a broken link: reading it says so


def _outside(path: Path) -> Problem:
    return Problem(
        "outside-folder", "the file is a symbolic link that leaves the folder", str(path),
        suggestion="put a copy into the folder",
    )  # fmt: skip


def refuse_second(result: CheckResult, first: str) -> CheckResult:
    """Return the result of a valid file as refused with ``duplicate-id``: the file `first` has its id."""
    assert result.loaded is not None
    loaded = result.loaded
    source = Source(loaded.text, result.file)
    root, _ = parse(source)
    line, column = place_of(root, ("sop",)) if root else (1, 1)
    problem = source.problem(
        "duplicate-id", f"the id `{loaded.sop.sop}` is already taken by {first}", line, column,
        "give one of the two another id",
    )  # fmt: skip
    return dataclasses.replace(result, loaded=None, problems=(problem,))
