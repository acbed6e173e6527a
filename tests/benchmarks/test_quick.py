"""Benchmarks without an Airflow run, with tiny sizes, as a person starts them; structure is asserted, never a time.

In a process of its own, as the command is what is tested.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tools.dev.environment import ROOT

pytestmark = pytest.mark.slow


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
    """The tables of one run."""
    return run(tmp_path_factory.mktemp("bench"), "build", "runner")[0]


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
            numbers(row, "first action, quickest", "first action p50", "first action p95")


def test_fleet(tmp_path: Path) -> None:
    _, printed = run(tmp_path, "fleet")
    for title in (
        "A tool call, one after the other",
        "Calls through one gateway process",
        "Sessions that are open at once",
    ):
        assert title in printed
    document = json.loads((tmp_path / "figures.json").read_text())
    calls, at_once, sessions = (table["rows"] for table in document["tables"])
    for row in calls:
        numbers(row, "p50", "p99", "p50, x direct")
    numbers(at_once[0], "calls a second", "gateway, CPU ms a call")
    assert [row["sessions"] for row in sessions] == ["20", "40"]
    numbers(sessions[1], "gateway, MiB", "opened a second")


def test_agents(tmp_path: Path) -> None:
    tables, _ = run(tmp_path, "agents")
    for row in tables["agents"]["rows"]:
        numbers(row, "first action, s", "whole attempt, s", "CPU, s", "peak memory, MB")
    numbers(tables["agents"]["rows"][-1], "first answer, s")
    assert [first(row) for row in tables["images"]["rows"]] == ["runner", "runner, agents"]
