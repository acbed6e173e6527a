"""`sop eval`: a suite's run with progress, and its report as a table, JSON or a page."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from airflow_sop_provider.cli.console import SopFileError, plural, read_sop, wants_colour
from airflow_sop_provider.evals.initial import initial_suite
from airflow_sop_provider.evals.page import html_page, percent
from airflow_sop_provider.evals.results import ResultsFile, ResultsInUseError
from airflow_sop_provider.evals.running import IN_PROCESS, in_process, run_suite
from airflow_sop_provider.evals.scores import METRICS, CaseResult, Summary, summarise
from airflow_sop_provider.evals.suite import LoadedSuite, load_suite
from airflow_sop_provider.evals.trace import CaseExecutor
from airflow_sop_provider.sop import SopError
from airflow_sop_provider.sop.problems import printable

__all__ = ["evaluate_suite", "init_suite"]

_USER, _PASSWORD = "SOP_AIRFLOW_USER", "SOP_AIRFLOW_PASSWORD"

Seen = Callable[[CaseResult, bool], None]


def evaluate_suite(
    path: Path, files: Mapping[str, Path | None], *, as_json: bool, anew: bool, quiet: bool, airflow: str | None
) -> int:
    """Run a suite and report.

    :param files: ``html``, ``results``, ``log``: where they go.
    :returns: 1 if a threshold is not reached, else 0.
    :raises SopFileError: the suite, its SOP or its tables are not valid.
    """
    try:
        suite = load_suite(path)
    except SopError as error:
        raise SopFileError(error) from error
    where = airflow or IN_PROCESS
    results_path = files["results"] or Path(f"{path.stem}.results.jsonl")
    try:
        with (
            ResultsFile(results_path, anew=anew) as file,
            _executor(suite, files["log"], airflow, file.token) as executor,
            _progress(len(suite.cases), shown=not (quiet or as_json)) as seen,
        ):
            if file.done and not as_json:
                click.echo(f"{plural(len(file.done), 'case')} done before the interruption; going on.", err=True)
            results = run_suite(suite, executor, file, where, seen)
    except ResultsInUseError as error:
        raise click.ClickException(str(error)) from error
    summary = summarise(results, suite.suite.thresholds)
    if files["html"] is not None:
        files["html"].write_text(html_page(suite, results, summary, where), encoding="utf-8")
    _report(suite, results, summary, as_json=as_json, quiet=quiet)
    return 0 if summary.ok else 1


@contextlib.contextmanager
def _executor(suite: LoadedSuite, log: Path | None, airflow: str | None, token: str) -> Iterator[CaseExecutor]:
    if airflow is None:
        with in_process(suite, log) as executor:
            yield executor
        return
    user, password = (os.environ.get(name, "") for name in (_USER, _PASSWORD))
    if not (user and password):
        raise click.UsageError(f"--airflow logs in with {_USER} and {_PASSWORD}, and one of them is not set.")
    if suite.recorded or any(case.recorded or case.approvals for case in suite.cases):
        click.echo("Recorded results and approvals of the suite are not used on an Airflow.", err=True)
    try:
        import httpx
    except ImportError as error:
        raise click.ClickException("--airflow needs httpx: install airflow-sop-provider again.") from error
    from airflow_sop_provider.evals.on_airflow import AirflowError, OnAirflow

    with httpx.Client(base_url=airflow.rstrip("/"), timeout=60.0, trust_env=False) as client:
        try:
            yield OnAirflow(suite.loaded, client, user, password, token, suite.cases)
        except AirflowError as error:
            raise click.ClickException(str(error)) from error


def init_suite(path: Path, sop: Path) -> int:
    """Write a commented suite for an SOP; nothing is overwritten.

    :raises SopFileError: the SOP is not valid.
    :raises click.ClickException: the file exists.
    """
    text = initial_suite(read_sop(sop), path.parent)
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError as error:
        raise click.ClickException(f"{path} exists and is left as it is. Name another file.") from error
    click.echo(f"Wrote {path}. Next: say what you expect, then `sop eval {path}`.", err=True)
    return 0


@contextlib.contextmanager
def _progress(total: int, *, shown: bool) -> Iterator[Seen]:
    """Give a function that is told of each case; a bar where somebody looks."""
    if not shown or not sys.stderr.isatty():
        yield lambda _result, _again: None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("Evaluating", total=total)
        yield lambda _result, _again: bar.advance(task)


def _report(suite: LoadedSuite, results: Sequence[CaseResult], summary: Summary, *, as_json: bool, quiet: bool) -> None:
    if as_json:
        click.echo(json.dumps(_document(suite, results, summary), indent=2, ensure_ascii=False))
        return
    colour = wants_colour(sys.stdout)
    width = max((len(result.id) for result in results), default=0)
    for result in results:
        if result.success and quiet:
            continue
        word = click.style("ok  ", fg="green") if result.success else click.style("FAIL", fg="red", bold=True)
        accuracy = "" if result.tools is None else f"  tools {percent(result.tools.accuracy)}"
        line = f"{word if colour else click.unstyle(word)}  {result.id:<{width}}  {result.status}{accuracy}"
        click.echo(line, color=colour)
        for text in _complaints(result):
            click.echo(f"        {printable(text)}")
    click.echo(f"{plural(summary.cases, 'case')} of {suite.suite.suite}:")
    for name in METRICS:
        least = getattr(suite.suite.thresholds, name)
        limit = (
            f" (at least {percent(least)}{', not reached' if name in summary.below else ''})"
            if least is not None
            else ""
        )
        click.echo(f"  {name.replace('_', ' '):<21} {percent(getattr(summary, name))}{limit}")


def _complaints(result: CaseResult) -> Iterator[str]:
    for check in result.checks:
        if not check.ok:
            actual = json.dumps(check.actual, ensure_ascii=False)
            yield f"{check.what}: {check.why}; it is {actual if len(actual) <= 300 else actual[:300] + '…'}"
    for step, message in result.failures.items() if not result.success else ():
        yield f"step {step} failed: {message}"
    if result.tools is not None and result.tools.accuracy < 1:
        expected, called = (", ".join(names) or "none" for names in (result.tools.expected, result.tools.called))
        yield f"tools expected: {expected}; called: {called}"


def _document(suite: LoadedSuite, results: Sequence[CaseResult], summary: Summary) -> dict[str, Any]:
    cases = []
    for result in results:
        case = result.model_dump(mode="json")
        case["tool_accuracy"] = None if result.tools is None else result.tools.accuracy
        cases.append(case)
    return {
        "suite": suite.suite.suite,
        "sop": suite.loaded.sop.sop,
        "version": suite.loaded.sop.version,
        "sha256": suite.loaded.sha256,
        "ok": summary.ok,
        "summary": summary.model_dump(mode="json"),
        "cases": cases,
    }
