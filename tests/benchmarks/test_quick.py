"""Every benchmark runs, with tiny sizes, as a person starts it; what is asserted is structure, never a time.

In a process of its own: a local Airflow that ends takes everything below its process with it, which here
would be the other tests' Airflow.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tools.dev.environment import ROOT

pytestmark = pytest.mark.airflow


def run(tmp_path: Path, *names: str) -> tuple[dict[str, dict[str, Any]], str]:
    """Run benchmarks with --quick; return their tables by name, and what was printed."""
    file = tmp_path / "figures.json"
    command = [sys.executable, "-m", "benchmarks", *names, "--quick", "--machine", "a test", "--json", str(file)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    document = json.loads(file.read_text())
    assert document["command"] == f"python -m benchmarks {' '.join(names)} --quick"
    assert (document["machine"], document["quick"]) == ("a test", True)
    assert document["Airflow"].startswith("3.")
    tables = {table["name"]: table for table in document["tables"]}
    assert all(table["title"] in done.stdout for table in tables.values())
    return tables, done.stdout


def numbers(row: dict[str, Any], *columns: str) -> None:
    """Assert that a row has measured values in these columns."""
    for column in columns:
        assert isinstance(row[column], int | float), (column, row)
        assert row[column] >= 0, (column, row)


def first(row: dict[str, Any]) -> str:
    return str(next(iter(row.values())))


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """The tables of one run of everything, as `make bench` makes it."""
    return run(tmp_path_factory.mktemp("bench"), "build", "runner", "dagprocessor", "latency", "throughput")[0]


def test_build_and_runner(tables: dict[str, dict[str, Any]]) -> None:
    build = tables["build"]
    assert first(build["rows"][0]).startswith("SOP")
    assert first(build["rows"][-1]).startswith("Python DAG")
    yardsticks = [row for row in build["rows"] if first(row).startswith("dag-factory 1.")]
    assert len(yardsticks) == 2 or "without dag-factory" in " ".join(build["notes"])
    for row in build["rows"]:
        numbers(row, "cold", "unchanged", "Airflow's serialisation")
    assert build["rows"][0]["cold, x SOP"] == 1.0
    assert len(tables["build-parts"]["rows"]) == 4
    rows = {first(row): row for row in tables["runner"]["rows"]}
    assert set(rows) == {"compute", "decision", "command", "tool", "floor: /bin/true", "floor: python -c pass"}
    for kind, row in rows.items():
        numbers(row, "spawn", "spawn CPU", "whole attempt", "attempt's CPU")
        if kind.startswith("floor"):
            assert row["first action p50"] is None
        else:
            numbers(row, "first action p50", "first action p95")


def test_dagprocessor(tables: dict[str, dict[str, Any]]) -> None:
    rows = tables["dagprocessor"]["rows"]
    assert [first(row).rpartition(", ")[2] for row in rows] == ["first seen", "first seen", "unchanged", "unchanged"]
    assert first(rows[0]).startswith("30 SOPs")
    for row in rows:
        numbers(row, "wall s", "CPU s")
    assert "at rest, all documents read" in " ".join(tables["dagprocessor"]["notes"])


def test_latency_and_throughput(tables: dict[str, dict[str, Any]]) -> None:
    for row in tables["latency"]["rows"]:
        numbers(row, "started p50", "started p95", "first line p50", "first line p95")
        assert row["started p50"] <= row["first line p50"]
    assert [first(row).split(" ")[0] for row in tables["latency"]["rows"]] == ["SOP", "BashOperator,"]
    rows = {first(row).split(" ")[0]: row for row in tables["throughput"]["rows"]}
    assert set(rows) == {"SOP", "BashOperator,", "EmptyOperator,"}
    assert rows["EmptyOperator,"]["x EmptyOperator"] == 1.0
    for row in rows.values():
        numbers(row, "steps a minute", "CPU s per step, Airflow")
        assert row["failed"] == 0
    assert rows["SOP"]["runner CPU s"] > 0
    components = tables["throughput-components"]["rows"]
    assert {"api-server", "scheduler", "executor child", "dag-processor", "triggerer"} <= set(components[0])
