"""The parts that turn processes, files and rows into figures."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
import yaml

from airflow_sop_provider.sop import load_sop
from benchmarks import cpu
from benchmarks.__main__ import BENCHMARKS, main
from benchmarks.airflow import bundles, listener
from benchmarks.bench import Bench, BenchmarkError
from benchmarks.database import AirflowDatabase
from benchmarks.documents import COMMAND_SOP, SHAPE, dag_factory_text, python_text, sop_text, write_documents
from benchmarks.latency import _times
from benchmarks.machine import describe, steadiness
from benchmarks.pages import BEGIN, END, update_page
from benchmarks.report import Table, p50, p95, ratio, shown

TABLE = Table(name="t", title="A table", columns=("what", "ms"), rows=[("ours", 1.234), ("theirs", None)], notes=("n",))
BURN = "import time\nwhile time.process_time() < 0.3: pass\n"


def test_percentiles_and_ratios() -> None:
    values = [float(n) for n in range(1, 21)]
    assert p50(values) == 10.5
    assert p95(values) == pytest.approx(19.05)
    assert (p50([]), p95([]), p95([3.0])) == (None, None, 3.0)
    assert ratio(3.0, 2.0) == 1.5
    assert (ratio(None, 2.0), ratio(1.0, None), ratio(1.0, 0.0)) == (None, None, None)


@pytest.mark.parametrize(
    ("cell", "text"),
    [(None, ""), ("a", "a"), (12345, "12,345"), (707.4, "707"), (12.3, "12.3"), (1.234, "1.23"), (0.0543, "0.0543")],
)  # fmt: skip
def test_cells_have_about_three_digits(cell: float | str | None, text: str) -> None:
    assert shown(cell) == text


def test_how_steady_a_machine_is() -> None:
    assert 0 < steadiness(0.1) <= 2
    assert describe("a test")["speed kept"].endswith("%")


def test_a_row_must_fit_its_columns() -> None:
    with pytest.raises(ValueError, match="has not the 2 cells"):
        Table(name="t", title="", columns=("a", "b"), rows=[("x",)])


def test_a_table_keeps_its_numbers_for_programs() -> None:
    assert TABLE.as_dict()["rows"] == [{"what": "ours", "ms": 1.234}, {"what": "theirs", "ms": None}]
    assert "| ours | 1.23 |" in TABLE.markdown()


def test_a_page_gets_the_figures_between_its_markers(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    update_page(page, {"command": "python -m benchmarks", "machine": "2 cores"}, [TABLE])
    text = page.read_text()
    assert text.startswith("before\n")
    assert text.endswith("\nafter\n")
    assert "old" not in text
    assert "`python -m benchmarks` · machine: 2 cores" in text
    assert "### A table" in text
    update_page(page, {"command": "again"}, [TABLE])
    assert page.read_text().count("### A table") == 1


def test_a_page_without_markers_is_left_alone(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("text")
    with pytest.raises(ValueError, match="put the lines"):
        update_page(page, {"command": ""}, [])
    assert page.read_text() == "text"


# -- the contenders ---------------------------------------------------------------------------------


def test_all_contenders_have_the_same_shape(tmp_path: Path) -> None:
    folder = write_documents(tmp_path, {"7.yaml": sop_text(7), "command.yaml": COMMAND_SOP})
    graph = load_sop(folder / "7.yaml").graph
    assert {step: set(graph.prerequisites(step)) for step in graph.step_ids} == {s: set(n) for s, n in SHAPE.items()}
    for operator in ("KubernetesPodOperator", "BashOperator"):
        tasks = yaml.safe_load(dag_factory_text(7, operator))["bench-7"]["tasks"]
        assert {task["task_id"]: tuple(task["dependencies"]) for task in tasks} == SHAPE
        assert {task["operator"].rpartition(".")[2] for task in tasks} == {operator}
    plain = python_text(7)
    assert plain.count("KubernetesPodOperator(") == len(SHAPE)
    assert plain.count(".set_upstream(") == sum(bool(needs) for needs in SHAPE.values())
    assert load_sop(folder / "command.yaml").sop.steps[0].kind == "command"


def test_documents_share_no_formula() -> None:
    first, second = (yaml.safe_load(sop_text(n))["steps"] for n in (1, 2))
    formulas = [step["compute"] for step in first if "compute" in step]
    assert formulas
    assert not [one for one in formulas if one in [step.get("compute") for step in second] and "unknown" not in one]


# -- what processes used ------------------------------------------------------------------------------


def test_a_tree_includes_children_that_run_and_children_that_ended() -> None:
    program = (
        "import subprocess, sys\n"
        f"subprocess.run([sys.executable, '-c', {BURN!r}])\n"
        f"child = subprocess.Popen([sys.executable, '-c', {BURN + 'print(1, flush=True); input()'!r}],"
        " stdin=subprocess.PIPE, stdout=subprocess.PIPE)\n"
        "child.stdout.readline(); print('ready', flush=True); input(); child.kill()\n"
    )
    process = subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        process.stdout.readline()
        assert cpu.tree_seconds(process.pid) >= 0.55
    finally:
        process.communicate(b"\n")
    assert cpu.tree_seconds(process.pid) == 0.0


@pytest.fixture
def scheduler() -> subprocess.Popen[bytes]:
    """A process with a child that looks like the executor's, which has a runner that ended and one that runs."""
    executor = (
        "import subprocess, sys\n"
        f"subprocess.run([sys.executable, '-c', {BURN!r}])\n"
        "runner = subprocess.Popen([sys.executable, '-c', 'print(1, flush=True); input()'],"
        " stdin=subprocess.PIPE, stdout=subprocess.PIPE)\n"
        "runner.stdout.readline()\n"
        "print('ready', flush=True); input(); runner.communicate(b'\\n')\n"
    )
    program = (
        "import subprocess, sys\n"
        f"sys.exit(subprocess.call([sys.executable, '-c', {executor!r}, 'airflow_sop_provider.executors.child']))\n"
    )
    process = subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    return process


def test_runners_have_an_account_of_their_own(scheduler: subprocess.Popen[bytes]) -> None:
    try:
        accounts = cpu.sample({"scheduler": scheduler.pid, "api-server": os.getpid()})
        assert set(accounts) == {"scheduler", "api-server", cpu.EXECUTOR, cpu.RUNNERS}
        assert accounts[cpu.RUNNERS] >= 0.28
        assert len(cpu.busy_children(scheduler.pid)) == 1
        whole = sum(accounts[name] for name in ("scheduler", cpu.EXECUTOR, cpu.RUNNERS))
        assert whole == pytest.approx(cpu.tree_seconds(scheduler.pid), abs=0.05)
    finally:
        scheduler.communicate(b"\n")


def test_a_scheduler_without_our_executor_is_refused() -> None:
    with pytest.raises(LookupError, match="no SopExecutor child"):
        cpu.busy_children(os.getpid())


def test_accounts_that_appear_later_count_from_nothing() -> None:
    assert cpu.difference({"a": 3.0, "b": 1.0}, {"a": 2.0}) == {"a": 1.0, "b": 1.0}


# -- what Airflow wrote -------------------------------------------------------------------------------


def test_the_database_tells_executions_and_passes(tmp_path: Path) -> None:
    connection = sqlite3.connect(tmp_path / "airflow.db")
    connection.executescript(
        """
        create table dag (dag_id, last_parsed_time);
        create table dag_run (id integer, dag_id, state, end_date);
        create table import_error (filename, stacktrace);
        insert into dag values ('a', '2026-01-01 10:00:00.500000'), ('b', '2026-01-01 09:00:00.000000'), ('c', null);
        insert into import_error values ('x.py', 'broken');
        insert into dag_run values (1, 'a', 'success', '2026-01-01 10:00:00.000000'),
            (2, 'a', 'success', '2026-01-01 10:00:01.000000'), (3, 'a', 'failed', '2026-01-01 10:00:02.000000'),
            (4, 'a', 'running', null), (5, 'b', 'success', '2026-01-01 11:00:00.000000');
        """
    )
    connection.close()
    database = AirflowDatabase(f"sqlite:///{tmp_path / 'airflow.db'}")
    try:
        assert database.parsed_since(datetime(2026, 1, 1, 10, tzinfo=UTC)) == 1
        assert database.import_errors() == ["x.py: broken"]
        assert database.last_run() == 5
        runs = database.runs_since("a", 1)
        assert (runs.total, runs.over, runs.failed) == (3, 2, 1)
        assert runs.last_end == datetime(2026, 1, 1, 10, 0, 2, tzinfo=UTC)
        assert database.runs_since("c", 0).last_end is None
    finally:
        database.close()


def test_times_of_an_sop_step_come_from_executor_and_runner(tmp_path: Path) -> None:
    log = tmp_path / "attempt=1.log"
    assert _times(log) is None
    entries = [
        {"timestamp": "2026-01-01T00:00:01Z", "event": "Started sop-x on the local runtime", "logger": "sop.executor"},
        {"timestamp": "2026-01-01T00:00:02Z", "event": "Step only, attempt 1", "logger": "sop.runner"},
        {"timestamp": "2026-01-01T00:00:03Z", "event": "Running true", "logger": "sop.runner"},
    ]  # fmt: skip
    log.write_text(json.dumps(entries[0]) + "\n")
    assert _times(log) is None
    log.write_text("\n".join(json.dumps(entry) for entry in entries) + "\n{ half a li")
    started, first_line = _times(log) or (0.0, 0.0)
    assert (first_line - started, started) == (1.0, datetime(2026, 1, 1, 0, 0, 1, tzinfo=UTC).timestamp())


def test_times_of_a_bash_operator_come_from_its_shell(tmp_path: Path) -> None:
    log = tmp_path / "attempt=1.log"
    entries = [
        {"timestamp": "2026-01-01T00:00:01Z", "event": "Running command: ['bash', '-c', 'date']"},
        {"timestamp": "2026-01-01T00:00:09Z", "event": "1767225602.250000000"},
    ]
    log.write_text("\n".join(json.dumps(entry) for entry in entries))
    assert _times(log) == (datetime(2026, 1, 1, 0, 0, 1, tzinfo=UTC).timestamp(), 1767225602.25)


# -- a run ------------------------------------------------------------------------------------------------


def test_bundles_for_each_kind_of_folder() -> None:
    both = json.loads(bundles(sops="/s", dags="/d"))
    assert [bundle["name"] for bundle in both] == ["sops", "dags"]
    assert [bundle["kwargs"]["path"] for bundle in both] == ["/s", "/d"]
    assert json.loads(bundles(dags="/d")) == both[1:]


def test_a_listener_is_found_by_its_port() -> None:
    program = (
        "import socket; s = socket.create_server(('127.0.0.1', 0)); print(s.getsockname()[1], flush=True); input()"
    )
    process = subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout is not None
    port = int(process.stdout.readline())
    try:
        assert listener(port) == process.pid
    finally:
        process.communicate(b"\n")
    with pytest.raises(BenchmarkError, match=f"nothing listens on port {port}"):
        listener(port)


def test_a_run_leaves_no_folder_behind_unless_it_failed() -> None:
    said: list[str] = []
    with Bench(quick=True, say=said.append) as bench:
        assert bench.number(full=100, quick=1) == 1
        assert bench.folder("a", "b").is_dir()
        assert (bench.database(), bench.database_port) == ("", None)
    assert not bench.work.exists()
    failed = Bench(quick=False, say=said.append)
    assert failed.number(full=100, quick=1) == 100
    failed.__exit__(BenchmarkError, BenchmarkError("no"), None)
    assert failed.work.exists()
    assert str(failed.work) in said[-1]
    failed.work.rmdir()


def test_an_unknown_benchmark_is_refused_with_the_names(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["speed"])
    assert caught.value.code == 2
    said = capsys.readouterr().err
    assert all(name in said for name in ("speed", *BENCHMARKS))


def test_programs_are_found_by_their_command_line() -> None:
    with subprocess.Popen(["sleep", "86397.5"]) as program:
        try:
            assert cpu.processes_running(("sleep", "86397.5")) == [program.pid]
            assert cpu.processes_running(("sleep", "86396.5")) == []
        finally:
            program.kill()
