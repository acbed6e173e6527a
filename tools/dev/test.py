"""`make test`: every test, measured in every process, with the limits of coverage enforced.

Much of the engine runs in processes that the tests start: runners in a cleaned environment, the
executor's child, servers. Coverage reaches all of them through a file in the environment's
site-packages, which starts the measurement as long as a marker in the checkout names its
configuration; no variable has to survive a cleaned environment. Measuring doubles what Python costs,
so it is left out where that is much: the tests that generate hundreds of examples count for nothing,
and of a whole running Airflow only the executor's child counts. On a cluster and a container engine nothing
is measured: what the tests with fakes cover must be enough.

Whatever a test leaves running is found (we are the subreaper of all descendants) and ended.
"""

from __future__ import annotations

import os
import sys
import sysconfig
import time
import tomllib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import coverage

from tools.dev.cluster_of_tests import WANTED, cluster_for_tests, is_wanted
from tools.dev.environment import ROOT
from tools.dev.processes import become_subreaper, end_descendants, run_and_reap
from tools.dev.signals import Stopped, raise_on_signals
from tools.model.__main__ import cache_folder, there
from tools.model.weights import DEFAULT, WEIGHTS

__all__ = ["BRANCH_LIMIT", "LINE_LIMIT", "figures", "main", "measured"]

LINE_LIMIT = 90.0
"""Percent of lines that must be more than covered."""
BRANCH_LIMIT = 85.0
"""Percent of branches that must be more than covered."""

_ALL = ROOT / ".coverage-run"
_CHILDREN = ROOT / ".coverage-run-children"
_CHILD = "airflow_sop_provider.executors.child"
_DATA = ROOT / ".coverage"
_RUNNING = "airflow or postgres"
_CLUSTER = "kubernetes or docker"
"""Tests on a real cluster and on a real container engine."""
_GENERATED_TESTS = ("-n", "2", "-m", f"hypothesis and not ({_RUNNING} or {_CLUSTER} or model)")
_SMALL_TESTS = ("-n", "2", "-m", f"not (hypothesis or {_RUNNING} or {_CLUSTER} or model)")
# a running Airflow has the machine to itself, and its start counts for the first test
_AIRFLOW_TESTS = ("--verbose", "--timeout=1800", "-m", f"({_RUNNING}) and not ({_CLUSTER})")
# pods mostly wait: for an image, for the end of a grace period, for a kubelet; a file's tests share a container engine
_CLUSTER_TESTS = ("--verbose", "-n", "3", "--dist=loadfile", "-m", f"({_CLUSTER}) and not alone")
_ALONE_TESTS = ("--verbose", "--timeout=1800", "-m", "kubernetes and alone")
# minutes: one run of a whole SOP; `make test-model` runs all
_MODEL_WANTED = "SOP_TEST_MODEL"
_MODEL_TESTS = ("--verbose", "--timeout=900", "-m", "model", "-k", "whole_sop")
_NO_TESTS = 5
"""pytest's exit code when a selection is empty."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the tests; return the exit code. With arguments for pytest, coverage is printed and not enforced."""
    chosen = list(sys.argv[1:] if arguments is None else arguments)
    raise_on_signals()
    become_subreaper()
    try:
        _forget()
        with measured(_ALL):
            codes = [_pytest(*_SMALL_TESTS, *chosen)]
        codes.append(_pytest(*_GENERATED_TESTS, *chosen))
        with measured(_CHILDREN):
            codes.append(_pytest(*_AIRFLOW_TESTS, *chosen))
        codes += _model_tests(chosen)
        codes += _cluster_tests(chosen)
        _combine()
        enough = _report()
    except Stopped:
        return 130
    finally:
        end_descendants(grace=10)
    failed = any(code not in {0, _NO_TESTS} for code in codes) or set(codes) == {_NO_TESTS}
    return 1 if failed or not (enough or chosen) else 0


def _model_tests(chosen: Sequence[str]) -> list[int]:
    """Run the tests on the real offline model where they are wanted and the cache has it; return the exit codes."""
    if os.environ.get(_MODEL_WANTED) == "no":
        print(f"\n{_MODEL_WANTED}=no: without the test on the real offline model", flush=True)
        return []
    if there(cache_folder(), WEIGHTS[DEFAULT]) is None:
        print(
            "\nno offline model in the cache: `make model` fetches and builds it, `make test-model` tests it",
            flush=True,
        )
        return []
    return [_pytest(*_MODEL_TESTS, *chosen)]


def _cluster_tests(chosen: Sequence[str]) -> list[int]:
    """Run the tests on a cluster and on a container engine; return the exit codes."""
    if not is_wanted():
        print(f"\nthe tests on a cluster and on a container engine run with {WANTED}=yes", flush=True)
        return []
    with cluster_for_tests() as up:
        if not up:
            print("\nno cluster: set KUBECONFIG to one of your own", flush=True)
            return [1]
        return [_pytest(*_CLUSTER_TESTS, *chosen), _pytest(*_ALONE_TESTS, *chosen)]


@contextmanager
def measured(marker: Path) -> Iterator[None]:
    """Have Python processes of this environment measure themselves meanwhile: all, or the executor's children."""
    marker.write_text(_configuration())
    _install_hook()
    try:
        yield
    finally:
        marker.unlink(missing_ok=True)
        end_descendants(grace=10)


def _forget() -> None:
    for old in (_ALL, _CHILDREN, _DATA, *ROOT.glob(".coverage.*")):
        old.unlink(missing_ok=True)


def _configuration() -> str:
    """Return the settings of pyproject.toml as a coverage configuration that is valid in any working directory."""
    settings: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["coverage"]["run"]
    lines = [f"{key} = {','.join(value) if isinstance(value, list) else value}" for key, value in settings.items()]
    return "\n".join(["[run]", f"data_file = {_DATA}", *lines, ""])


def _install_hook() -> None:
    """Write the lines that every start of this environment's Python executes; coverage's own line comes after them."""
    hook = Path(sysconfig.get_path("purelib")) / "a0_sop_coverage.pth"
    every, children = str(_ALL), str(_CHILDREN)
    start = "os.environ.setdefault('COVERAGE_PROCESS_START', "
    hook.write_text(
        f"import os; os.path.exists({every!r}) and {start}{every!r})\n"
        f"import os, sys; os.path.exists({children!r}) and {_CHILD!r} in sys.orig_argv and {start}{children!r})\n"
    )


def _pytest(*arguments: str) -> int:
    print(f"\n$ pytest {' '.join(arguments)}", flush=True)
    began = time.monotonic()
    environment = {**os.environ, "SOP_HYPOTHESIS": "thorough"}
    command = [sys.executable, "-m", "pytest", "--durations=10", *arguments]
    code = run_and_reap(command, environment=environment)
    print(f"took {time.monotonic() - began:.0f} s", flush=True)
    return code


def _combine() -> None:
    combined = coverage.Coverage(data_file=str(_DATA), config_file=str(ROOT / "pyproject.toml"))
    combined.erase() if not any(ROOT.glob(".coverage.*")) else combined.combine([str(ROOT)])
    combined.save()


def figures(totals: dict[str, Any]) -> tuple[float, float]:
    """Return percent of lines and of branches covered, from the totals of coverage's JSON report."""
    lines = 100.0 * totals["covered_lines"] / max(1, totals["num_statements"])
    branches = 100.0 * totals["covered_branches"] / max(1, totals["num_branches"])
    return lines, branches


def _report() -> bool:
    """Print the report and both figures; return whether they are above the limits."""
    import json

    measured_data = coverage.Coverage(data_file=str(_DATA), config_file=str(ROOT / "pyproject.toml"))
    measured_data.load()
    measured_data.report(file=sys.stdout)
    target = ROOT / ".coverage.json"
    measured_data.json_report(outfile=str(target))
    lines, branches = figures(json.loads(target.read_text())["totals"])
    enough = lines > LINE_LIMIT and branches > BRANCH_LIMIT
    print(
        f"coverage: lines {lines:.1f} % (more than {LINE_LIMIT:.0f} wanted),"
        f" branches {branches:.1f} % (more than {BRANCH_LIMIT:.0f} wanted){'' if enough else ' - TOO LOW'}"
    )
    return enough


if __name__ == "__main__":
    raise SystemExit(main())
