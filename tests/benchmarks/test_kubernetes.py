"""The parts of the benchmarks on simulated nodes that need no cluster; what they measure is shown by running them."""

from __future__ import annotations

import ast
import json
import os
import sqlite3
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import psutil
import pytest

from airflow_sop_provider.sop import load_sop
from benchmarks import cpu, kubernetes, scale
from benchmarks.__main__ import BENCHMARKS, _command, _parse
from benchmarks.bench import BenchmarkError
from benchmarks.database import AirflowDatabase
from benchmarks.documents import HOLD_SOP, NEXT_SOP, pod_operator_dags_text, write_documents
from benchmarks.pages import BEGIN, END, MARKERS, update_page
from benchmarks.pods import PodTimes, pod_template
from benchmarks.report import Table
from benchmarks.throughput import Round
from tools.cluster.simulation import NODE_LABEL, TOLERATION

TABLE = Table(name="t", title="A table", columns=("what", "ms"), rows=[("ours", 1.0)])


def pod(name: str, phase: str, step: str = "first") -> dict[str, object]:
    return {"metadata": {"name": name, "labels": {"sop/step": step}}, "status": {"phase": phase}}


def test_times_of_pods_are_those_of_the_first_sight() -> None:
    pods = PodTimes("n")
    pods.note("ADDED", pod("a", "Pending"))
    pods.note("ADDED", pod("b", "Pending"))
    created = dict(pods.created)
    pods.note("MODIFIED", pod("a", "Running"))
    assert (pods.running(), pods.ended) == (2, {})
    pods.note("MODIFIED", pod("a", "Succeeded"))
    ended = dict(pods.ended)
    pods.note("DELETED", pod("a", "Succeeded"))
    pods.note("DELETED", pod("b", "Running"))
    assert pods.created == created
    assert pods.ended["a"] == ended["a"] >= created["a"]
    assert pods.running() == 0
    assert pods.labels["a"] == {"sop/step": "first"}


def test_a_watch_that_is_too_old_begins_anew_and_forgets_nothing() -> None:
    pods = PodTimes("n")
    event = {"type": "ADDED", "object": {"metadata": {"name": "a", "resourceVersion": "7"}, "status": {}}}
    assert pods._take(event) == "7"
    assert pods._take({"type": "ERROR", "object": {"kind": "Status", "code": 410}}) == ""
    assert set(pods.created) == {"a"}


def test_pods_of_all_contenders_choose_simulated_nodes() -> None:
    spec = json.loads(pod_template())["spec"]
    assert (spec["nodeSelector"], spec["tolerations"]) == (NODE_LABEL, [TOLERATION])
    text = pod_operator_dags_text("steps", "/config")
    ast.parse(text)
    assert all(said in text for said in ("'steps'", "'/config'", "sop-simulated", "deferrable=True"))
    assert set(kubernetes._WAYS.values()) - {"bench-command"} == {"bench-pod", "bench-pod-deferrable"}


def test_documents_have_the_steps_that_stages_and_figures_name(tmp_path: Path) -> None:
    folder = write_documents(tmp_path, {"hold.yaml": HOLD_SOP, "next.yaml": NEXT_SOP})
    assert load_sop(folder / "hold.yaml").graph.step_ids == ("hold",)
    graph = load_sop(folder / "next.yaml").graph
    assert set(graph.prerequisites("second")) == {"first"}


def test_a_page_keeps_the_figures_of_the_other_part(tmp_path: Path) -> None:
    begin, end = MARKERS["kubernetes"]
    page = tmp_path / "page.md"
    page.write_text(f"{BEGIN}\nown\n{END}\n{begin}\nold\n{end}\nafter\n")
    update_page(page, {"command": "python -m benchmarks scale"}, [TABLE], part="kubernetes")
    text = page.read_text()
    assert "own" in text
    assert "old" not in text
    assert text.index(begin) < text.index("### A table") < text.index(end)


def test_what_needs_a_cluster_or_postgresql_runs_only_when_it_is_named() -> None:
    options = _parse([])
    apart = {"kubernetes", "scale", "engine", "history", "fleet", "agents"}
    assert set(BENCHMARKS) - set(options.names) == apart
    assert _command(options) == "python -m benchmarks"
    assert _command(_parse(["kubernetes", "scale"])) == "python -m benchmarks kubernetes scale"
    assert _command(_parse(["engine", "--seconds", "60"])) == "python -m benchmarks engine --seconds 60"


def test_without_simulated_nodes_there_is_nothing_to_measure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOP_CLUSTER_HOME", str(tmp_path))
    with pytest.raises(BenchmarkError, match="make cluster-simulated"):
        kubernetes.check_cluster()


def test_the_end_of_an_executions_last_step(tmp_path: Path) -> None:
    connection = sqlite3.connect(tmp_path / "airflow.db")
    connection.executescript(
        """
        create table task_instance (dag_id, run_id, end_date);
        insert into task_instance values ('a', 'r', '2026-01-01 10:00:00.000000'),
            ('a', 'r', '2026-01-01 10:00:02.000000'), ('a', 'other', '2026-01-01 11:00:00.000000'), ('b', 'r', null);
        """
    )
    connection.close()
    database = AirflowDatabase(f"sqlite:///{tmp_path / 'airflow.db'}")
    try:
        assert database.step_end("a", "r") == datetime(2026, 1, 1, 10, 0, 2, tzinfo=UTC)
        assert database.step_end("b", "r") is None
    finally:
        database.close()


def test_memory_of_a_tree_counts_children_and_leaves_one_out() -> None:
    with pytest.raises(LookupError):
        cpu.executor_child(os.getpid())
    program = "x = bytearray(60 * 1024 * 1024); print(1, flush=True); input()"
    child = subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        assert child.stdout is not None
        child.stdout.readline()
        whole = scale._tree(psutil.Process())
        without = scale._tree(psutil.Process(), without=psutil.Process(child.pid))
        assert whole - without > 50
    finally:
        child.communicate(b"\n")


def test_tables_compare_with_ours_and_with_the_floor() -> None:
    def rounds(total: float, wall: float, failed: int) -> list[Round]:
        return [Round(steps=60, failed=failed, wall=wall, cpu={"scheduler": total})]

    labels = [*kubernetes._WAYS, "EmptyOperator, no pod"]
    given = dict(
        zip(labels, (rounds(0.2, 10, 0), rounds(2.0, 60, 0), rounds(4.0, 120, 30), rounds(0.1, 5, 0)), strict=True)
    )
    ours, sync, deferrable, floor = kubernetes._throughput(given, 1, 60).rows
    assert ours[1:] == pytest.approx((360, 1.0, 0.2, 1.0, 2.0, 0))
    assert sync[1:] == pytest.approx((60, 6.0, 2.0, 10.0, 20.0, 0))
    assert deferrable[1:] == pytest.approx((15, 24.0, 4.0, 20.0, 40.0, 30))
    assert floor[4] == pytest.approx(0.5)
    levels = [
        scale._Level(1000, 50.0, {"scheduler": 400.0}, {"scheduler": 0.1, "runners": 9.0}, [0.1, 0.2], [1.0, 2.0])
    ]
    assert scale._table(levels, 3, 9.0).rows[0][:2] == ("1,000 held", 50.0)
    assert "failed: 3" in scale._table(levels, 3, 9.0).notes[0]
    assert str(levels[0]).startswith("1000 held after 50 s")
    assert scale._table(levels, 3, 9.0).rows[0][4] == pytest.approx(0.199)
    assert scale._memory(levels).rows == [("scheduler", 400.0)]
    assert scale._cpu(levels).rows == [("scheduler", 0.1)]
