"""Load and check SOP files: text -> nodes -> data -> models -> checks over the whole.

Every stage collects what it finds and the next one still runs where it can, so that a person sees
all problems of a file at once. Nothing is read that could not be an SOP: the size is checked
before the text, the text's shape before its meaning.
"""

from __future__ import annotations

import hashlib
import os
import stat
from pathlib import Path

from airflow_sop_provider.sop.checks import check_document
from airflow_sop_provider.sop.graph import WorkflowGraph
from airflow_sop_provider.sop.loaded import CheckResult, LoadedSop
from airflow_sop_provider.sop.mode import choose_mode_of
from airflow_sop_provider.sop.problems import Problem
from airflow_sop_provider.sop.source import MAX_BYTES, Source, decode
from airflow_sop_provider.sop.structure import build
from airflow_sop_provider.sop.yaml_nodes import parse, to_data

__all__ = ["check_file", "check_text", "load_sop"]


def load_sop(path: Path) -> LoadedSop:
    """Return the SOP in a file.

    :raises SopError: the file cannot be read or is not a valid SOP; its text tells every problem.
    """
    return check_file(path).unwrap()


def check_file(path: Path) -> CheckResult:
    """Return what checking the file gives; never raises for what is in the file or wrong with reading it."""
    file = str(path)
    content = _read(path)
    if isinstance(content, Problem):
        return CheckResult(file, None, (content,))
    source = decode(content, file)
    if isinstance(source, Problem):
        return CheckResult(file, None, (source,))
    return _check(source, content, path)


def check_text(text: str, file: str = "<text>") -> CheckResult:
    """Return what checking an SOP's text gives; never raises for what is in the text.

    :param file: name to show in problems.
    """
    content = text.encode("utf-8", "surrogatepass")
    if len(content) > MAX_BYTES:
        problem = decode(content, file)
        return CheckResult(file, None, (problem,) if isinstance(problem, Problem) else ())
    return _check(Source(text, file), content, Path(file))


def _check(source: Source, content: bytes, path: Path) -> CheckResult:
    root, problems = parse(source)
    if root is None:
        return CheckResult(source.file, None, _sorted(problems))
    data = to_data(root)
    sop, structural = build(data, root, source)
    problems += _elsewhere(structural, problems)
    problems += _elsewhere(check_document(data, root, source), problems)
    if problems or sop is None:
        return CheckResult(source.file, None, _sorted(problems))
    digest = hashlib.sha256(content).hexdigest()
    loaded = LoadedSop(sop, source.text, digest, path, WorkflowGraph.of(sop.steps), choose_mode_of(data))
    return CheckResult(source.file, loaded)


def _elsewhere(new: list[Problem], old: list[Problem]) -> list[Problem]:
    """Return the new problems at places that have none yet: one mistake is told once, by who saw it first."""
    taken = {(problem.line, problem.column) for problem in old if problem.code != "missing-key"}
    return [problem for problem in new if (problem.line, problem.column) not in taken]


def _sorted(problems: list[Problem]) -> tuple[Problem, ...]:
    return tuple(sorted(dict.fromkeys(problems), key=lambda problem: (problem.line, problem.column)))


def _read(path: Path) -> bytes | Problem:
    """Return at most one byte more than an SOP may have; a pipe or device is refused, not waited for."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with open(descriptor, "rb") as file:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                return Problem("not-a-file", "this is not a regular file", str(path))
            return file.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        return Problem("unreadable", f"the file cannot be read: {reason}", str(path))
