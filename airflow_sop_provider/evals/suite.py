"""From a suite's file to everything a run of it needs; all problems of all its files at once."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from airflow_sop_provider.evals.models import Case, RecordedResult, Suite
from airflow_sop_provider.evals.tables import read_cases, read_recorded
from airflow_sop_provider.sop import LoadedSop, check_file
from airflow_sop_provider.sop.problems import Problem, SopError, nearest
from airflow_sop_provider.sop.source import Source, decode
from airflow_sop_provider.sop.structure import build_model
from airflow_sop_provider.sop.yaml_nodes import Node, parse, place_of, to_data
from airflow_sop_provider.sop.yaml_nodes import Path as Place

__all__ = ["LoadedSuite", "load_suite"]


@dataclass(frozen=True)
class LoadedSuite:
    """A valid suite with its SOP and its tables.

    :param recorded: recorded results of the suite, first match answers.
    """

    suite: Suite
    path: Path
    loaded: LoadedSop
    cases: tuple[Case, ...]
    recorded: tuple[RecordedResult, ...]

    @property
    def models(self) -> Path | None:
        """Path of the file of models, None where agents ask those of the environment."""
        return None if self.suite.models is None else self.path.parent / self.suite.models

    @property
    def fleet(self) -> Path | None:
        """Path of the fleet's file, None where every call must be recorded."""
        return None if self.suite.fleet is None else self.path.parent / self.suite.fleet


def load_suite(path: Path) -> LoadedSuite:
    """Return the suite in a file.

    :raises SopError: something is wrong with it, its SOP or its tables; the text tells every problem.
    """
    content = _read(path)
    source = content if isinstance(content, Problem) else decode(content, str(path))
    if isinstance(source, Problem):
        raise SopError([source])
    root, problems = parse(source)
    if root is None:
        raise SopError(map(_of_a_suite, problems))
    suite, structural = build_model(Suite, to_data(root), root, source)
    problems += structural
    if suite is None or problems:
        raise SopError(sorted(problems, key=lambda problem: (problem.line, problem.column)))
    return _loaded(suite, path, root, source)


def _read(path: Path) -> bytes | Problem:
    try:
        return path.read_bytes()
    except OSError as error:
        return Problem("unreadable", f"the file cannot be read: {error.strerror or error}", str(path))


def _of_a_suite(problem: Problem) -> Problem:
    """Return what is wrong with YAML that is no suite at all; the reader of SOPs speaks of SOPs."""
    if problem.code in ("empty-file", "wrong-type"):
        message = "the file is empty" if problem.code == "empty-file" else "a suite is a mapping of keys to values"
        return dataclasses.replace(problem, message=message, suggestion="`sop eval --init` writes an example")
    return problem


def _loaded(suite: Suite, path: Path, root: Node, source: Source) -> LoadedSuite:
    folder = path.parent
    checked = check_file(folder / suite.sop)
    if checked.loaded is None:
        raise SopError(checked.problems)
    loaded = checked.loaded
    cases, problems = list(suite.cases), list(_case_problems(suite.cases, loaded, source, root))
    if suite.cases_file is not None:
        table = folder / suite.cases_file
        more, found = read_cases(table, loaded.sop.inputs)
        cases += more
        problems += [*found, *_reference_problems(more, loaded, str(table))]
    recorded = list(suite.recorded)
    if suite.recorded_file is not None:
        more_recorded, found = read_recorded(folder / suite.recorded_file)
        recorded += more_recorded
        problems += found
    problems += [*_whole(suite, cases, loaded, root, source)]
    if problems:
        raise SopError(problems)
    return LoadedSuite(suite, path, loaded, tuple(cases), tuple(recorded))


def _whole(suite: Suite, cases: Sequence[Case], loaded: LoadedSop, root: Node, source: Source) -> Iterator[Problem]:
    def at(place: Place, code: str, message: str, hint: str | None = None) -> Problem:
        line, column = place_of(root, place)
        return source.problem(code, message, line, column, hint)

    if not cases and suite.cases_file is None:
        yield at((), "missing-key", "the suite has no cases", "write `cases`, or name a table with `cases_file`")
    seen: set[str] = set()
    for case in cases:
        if case.id in seen:
            yield at((), "duplicate-key", f"two cases have the id `{case.id}`", "ids of cases are unique in a suite")
        seen.add(case.id)
    if suite.run_after is not None:
        try:
            datetime.fromisoformat(suite.run_after)
        except ValueError:
            yield at(
                ("run_after",),
                "bad-value",
                "`run_after` is no time of ISO 8601",
                'for example "2026-01-31T06:00:00+00:00"',
            )
    for index, one in enumerate(suite.recorded):
        if (problem := _unknown_source(one.tool, loaded)) is not None:
            yield at(("recorded", index, "tool"), "unknown-source", *problem)


def _unknown_source(tool: str, loaded: LoadedSop) -> tuple[str, str | None] | None:
    name = tool.partition(".")[0]
    if name in loaded.sop.data_sources:
        return None
    match = nearest(name, loaded.sop.data_sources)
    return f"the SOP has no data source `{name}`", f"did you mean `{match}`?" if match else None


def _case_problems(cases: Iterable[Case], loaded: LoadedSop, source: Source, root: Node) -> Iterator[Problem]:
    for index, case in enumerate(cases):
        for place, message, hint in _references(case, loaded):
            line, column = place_of(root, ("cases", index, *place))
            yield source.problem("unknown-step", message, line, column, hint)


def _reference_problems(cases: Iterable[Case], loaded: LoadedSop, file: str) -> Iterator[Problem]:
    for case in cases:
        for _, message, hint in _references(case, loaded):
            yield Problem("unknown-step", f"case `{case.id}`: {message}", file, suggestion=hint)


def _references(case: Case, loaded: LoadedSop) -> Iterator[tuple[Place, str, str | None]]:
    """Yield steps and options that a case names and the SOP does not have."""
    steps = {step.id: step for step in loaded.sop.steps}
    named: list[tuple[Place, str]] = [
        *((("expect", "decisions", name), name) for name in case.expect.decisions),
        *((("approvals", name), name) for name in case.approvals),
    ]
    for place, name in named:
        if name not in steps:
            match = nearest(name, steps)
            yield place, f"`{name}` is no step of the SOP", f"did you mean `{match}`?" if match else None
    for name, option in case.expect.decisions.items():
        decision: Any = steps[name].decision if name in steps else None
        if name in steps and (decision is None or option not in decision.options):
            options = ", ".join(decision.options) if decision is not None else "none: it is no decision"
            yield ("expect", "decisions", name), f"`{option[:60]}` is no option of `{name}`", f"options are {options}"
