"""Runs and their results: kept as they come, gone on with after whatever ended the run."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_sop_provider.evals.models import Case
from airflow_sop_provider.evals.results import ResultsFile, ResultsInUseError
from airflow_sop_provider.evals.running import in_process, run_suite
from airflow_sop_provider.evals.suite import LoadedSuite, load_suite
from airflow_sop_provider.evals.trace import Trace

Write = Callable[..., Path]
TINY = "sop: r\nversion: 1.0.0\ntitle: R\nmode: system_design\nsteps: [{id: a, compute: {x: '1'}}]"
RECORDED = [{"tool": "shop.orders", "result": {"count": 1, "ids": []}}]


class Counting:
    """Executes for real and remembers what; interrupts after so many."""

    def __init__(self, inner: Any, stop_after: int = 99) -> None:
        self.inner, self.stop_after, self.ran = inner, stop_after, []

    def execute(self, case: Case) -> Trace:
        if len(self.ran) == self.stop_after:
            raise KeyboardInterrupt
        self.ran.append(case.id)
        return self.inner.execute(case)


def run(suite: LoadedSuite, file: Path, stop_after: int = 99, **options: Any) -> list[str]:
    with in_process(suite) as executor, ResultsFile(file, **options) as results:
        counting = Counting(executor, stop_after)
        try:
            found = run_suite(suite, counting, results)
            assert [result.id for result in found] == [case.id for case in suite.cases]
        except KeyboardInterrupt:
            pass
        return counting.ran


def suite_of(suite_file: Write, *names: str, **keys: Any) -> LoadedSuite:
    return load_suite(suite_file(cases=[{"id": name} for name in names], recorded=RECORDED, **keys))


def test_an_interrupted_run_goes_on_and_a_finished_one_begins_anew(suite_file: Write, tmp_path: Path) -> None:
    suite, file = suite_of(suite_file, "a", "b", "c"), tmp_path / "r.jsonl"
    assert run(suite, file, stop_after=2) == ["a", "b"]
    assert run(suite, file) == ["c"]
    assert run(suite, file) == ["a", "b", "c"]


def test_all_is_run_again_on_demand(suite_file: Write, tmp_path: Path) -> None:
    suite, file = suite_of(suite_file, "a", "b"), tmp_path / "r.jsonl"
    run(suite, file, stop_after=1)
    assert run(suite, file, anew=True) == ["a", "b"]


def test_what_changed_meanwhile_runs_again(suite_file: Write, tmp_path: Path) -> None:
    file = tmp_path / "r.jsonl"
    run(suite_of(suite_file, "a", "b", "c"), file, stop_after=2)
    changed = [{"id": "a", "inputs": {"limit": 3}}, {"id": "b"}, {"id": "c"}]
    assert run(load_suite(suite_file(cases=changed, recorded=RECORDED)), file) == ["a", "c"]


def test_thresholds_may_change_without_running_again(suite_file: Write, tmp_path: Path) -> None:
    file = tmp_path / "r.jsonl"
    run(suite_of(suite_file, "a", "b"), file, stop_after=1)
    assert run(suite_of(suite_file, "a", "b", thresholds={"task_success": 0.5}), file) == ["b"]


def test_a_changed_sop_runs_everything_again(suite_file: Write, tmp_path: Path) -> None:
    file = tmp_path / "r.jsonl"
    run(suite := suite_of(suite_file, "a", "b"), file, stop_after=1)
    (suite.path.parent / "review.yaml").write_text(suite.loaded.text + "# changed\n")
    assert run(load_suite(suite.path), file) == ["a", "b"]


@settings(max_examples=25)
@given(st.integers(0, 2000))
def test_wherever_the_file_was_cut_off_the_run_goes_on(tmp_path_factory: pytest.TempPathFactory, cut: int) -> None:
    folder = tmp_path_factory.mktemp("cut")
    (folder / "review.yaml").write_text(
        "sop: r\nversion: 1.0.0\ntitle: R\nmode: system_design\nsteps: [{id: a, compute: {x: '1'}}]"
    )
    path = folder / "suite.yaml"
    path.write_text(json.dumps({"suite": "s", "sop": "review.yaml", "cases": [{"id": name} for name in "abc"]}))
    suite, file = load_suite(path), folder / "r.jsonl"
    run(suite, file, stop_after=2)
    whole = file.read_bytes()
    file.write_bytes(whole[: min(cut, len(whole))])
    complete = [json.loads(line) for line in file.read_bytes().split(b"\n")[:-1]]
    done = [record["result"]["id"] for record in complete if record["kind"] == "case"]
    assert run(suite, file) == [name for name in "abc" if name not in done] or not complete
    with ResultsFile(file) as results:
        assert results.done == {}


def test_two_runs_do_not_write_one_file(suite_file: Write, tmp_path: Path) -> None:
    with ResultsFile(tmp_path / "r.jsonl"), pytest.raises(ResultsInUseError, match="another run"):
        ResultsFile(tmp_path / "r.jsonl")
