"""`sop validate`: every error of every SOP, for a person or for a program.

Folders hold thousands of files, so errors are shown as they are found, with a progress bar below
them on a terminal and one summary line at the end. With `--json` the same goes out as one document.
"""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import click

from airflow_sop_provider.cli.console import plural, wants_colour
from airflow_sop_provider.sop import CheckResult, check_file, check_folder
from airflow_sop_provider.sop.folder import find_files, refuse_second

__all__ = ["validate_paths"]

PROGRESS_FROM = 50
"""Number of files from which on a progress bar is worth its space."""

Show = Callable[[str], None]
Advance = Callable[[], None]


Also = Callable[[CheckResult], CheckResult]


def validate_paths(paths: tuple[Path, ...], *, as_json: bool, quiet: bool, fleet: Path | None = None) -> int:
    """Check the files, and those below the folders, and report.

    :param fleet: a fleet.yaml whose servers are asked for what the SOPs use of them.
    :returns: 1 if any file has an error, else 0.
    """
    also = _unchanged if fleet is None else _held_against(fleet)
    return _report_json(paths, also) if as_json else _report_text(paths, also, quiet=quiet)


def _unchanged(result: CheckResult) -> CheckResult:
    return result


def _held_against(path: Path) -> Also:
    from airflow_sop_provider.cli.fleet import tools_of_fleet
    from airflow_sop_provider.fleet.sop_check import check_against, servers_of

    ask = tools_of_fleet(path)
    return lambda result: check_against(result, ask(servers_of(result.loaded))) if result.loaded else result


def _report_text(paths: tuple[Path, ...], also: Also, *, quiet: bool) -> int:
    colour = wants_colour(sys.stdout)
    files = errors = invalid = 0
    with _progress(paths, shown=not quiet) as (show, advance):
        for result in map(also, _results(paths)):
            files, errors, invalid = files + 1, errors + len(result.problems), invalid + (not result.ok)
            for problem in result.problems:
                show(problem.render(colour=colour) + "\n")
            advance()
    if not quiet:
        click.echo(_summary(files, invalid, errors))
    return 1 if invalid else 0


def _report_json(paths: tuple[Path, ...], also: Also) -> int:
    results = list(map(also, _results(paths)))
    invalid = sum(not result.ok for result in results)
    document = {
        "files": len(results),
        "valid": len(results) - invalid,
        "invalid": invalid,
        "errors": sum(len(result.problems) for result in results),
        "results": [_as_dict(result) for result in results],
    }
    click.echo(json.dumps(document, indent=2, ensure_ascii=False))
    return 1 if invalid else 0


def _results(paths: tuple[Path, ...]) -> Iterator[CheckResult]:
    """Yield the result of every file once, however many of the paths lead to it; ids are unique among them all."""
    done: set[Path] = set()
    first_with_id: dict[str, str] = {}
    for path in paths:
        for result in check_folder(path) if path.is_dir() else (check_file(path),):
            real = Path(result.file).resolve()
            if real in done:
                continue
            done.add(real)
            yield _unless_taken(result, first_with_id)


def _unless_taken(result: CheckResult, first_with_id: dict[str, str]) -> CheckResult:
    """Refuse an SOP whose id a file of another path has; within one folder the language has seen to it."""
    if result.loaded is None:
        return result
    first = first_with_id.setdefault(result.loaded.sop.sop, result.file)
    return result if first == result.file else refuse_second(result, first)


@contextlib.contextmanager
def _progress(paths: tuple[Path, ...], *, shown: bool) -> Iterator[tuple[Show, Advance]]:
    """Give a function that prints, and one that counts a file; with a bar where somebody looks and waits for it."""
    stream = next((stream for stream in (sys.stdout, sys.stderr) if stream.isatty()), None)
    if not shown or stream is None or (total := _count(paths)) < PROGRESS_FROM:
        yield click.echo, lambda: None
        return
    from rich.console import Console
    from rich.progress import Progress
    from rich.text import Text

    def show(text: str) -> None:
        if stream is sys.stdout:  # above the bar
            bar.console.print(Text.from_ansi(text), soft_wrap=True)
        else:
            click.echo(text)

    with Progress(console=Console(file=stream), transient=True) as bar:
        task = bar.add_task("Validating", total=total)
        yield show, lambda: bar.advance(task)


def _count(paths: tuple[Path, ...]) -> int:
    return sum(len(find_files(path)) if path.is_dir() else 1 for path in paths)


def _summary(files: int, invalid: int, errors: int) -> str:
    if not files:
        return "No SOP files (*.yaml, *.yml) found."
    if not invalid:
        return f"{plural(files, 'file')} checked, all valid."
    return f"{plural(files, 'file')} checked: {files - invalid:,} valid, {invalid:,} with {plural(errors, 'error')}."


def _as_dict(result: CheckResult) -> dict[str, object]:
    loaded = result.loaded
    return {
        "file": result.file,
        "valid": result.ok,
        "sop": loaded.sop.sop if loaded is not None else None,
        "version": loaded.sop.version if loaded is not None else None,
        "sha256": loaded.sha256 if loaded is not None else None,
        "mode": loaded.mode.mode if loaded is not None else None,
        "problems": [problem.as_dict() for problem in result.problems],
    }
