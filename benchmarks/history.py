"""What the engine's regular work costs when years of executions lie in the database and thousands run."""

from __future__ import annotations

import json
import subprocess
import sys

from benchmarks.bench import Bench, BenchmarkError
from benchmarks.engine_server import SOP, EngineServer
from benchmarks.report import Table
from tools.dev.environment import ROOT
from tools.dev.instance import component_environment

__all__ = ["measure"]


def measure(bench: Bench) -> list[Table]:
    """Fill a database and time each look."""
    past, running = bench.number(full=100_000, quick=50), bench.number(full=4000, quick=10)
    with EngineServer(bench, workers=1) as server:
        server.submit(1)
        server.begin()
        environment = component_environment(server.instance.home)
    bench.say(f"history: copying {past + running} executions")
    command = [sys.executable, "-m", "benchmarks.engine_past", SOP, str(past), str(running)]
    done = subprocess.run(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise BenchmarkError(f"`{' '.join(command[1:])}` failed; what it said stands above")
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return [
        Table(
            name="history",
            title=f"The engine's regular work beside {past:,} executions that ended and {running:,} that run, ms",
            columns=("what", "median"),
            rows=list(found.items()),
            notes=(
                f"on {'PostgreSQL' if bench.postgres else 'SQLite'}; ten task instances for each execution; "
                "copied in the database from one that was submitted",
            ),
        )
    ]
