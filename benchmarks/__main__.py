"""Runs benchmarks by name, all by default, and prints a table for each."""

from __future__ import annotations

import argparse
import importlib
import json
import os
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console

from benchmarks.machine import describe, load_per_core
from benchmarks.pages import update_page
from benchmarks.report import Table
from tools.dev.instance import InstanceError
from tools.dev.rest import ApiError
from tools.dev.signals import Stopped, raise_on_signals
from tools.dev.supervisor import SupervisorError

__all__ = ["BENCHMARKS", "main"]

BENCHMARKS: dict[str, str] = {
    "build": "CPU per document: load, validate, build; against dag-factory",
    "dagprocessor": "1,000 SOPs in Airflow's dag-processor; against ordinary DAG files",
    "runner": "process start to first action",
    "latency": "REST POST to the first line of the runner; against a BashOperator",
    "cancel": "REST call to the end of the step's processes",
    "throughput": "steps a minute and CPU per step; against BashOperator and EmptyOperator",
    "kubernetes": "steps as pods of simulated nodes; against KubernetesPodOperator (needs `make cluster-simulated`)",
    "scale": "thousands of executions at once on simulated nodes (needs `make cluster-simulated`)",
    "engine": "status queries and heartbeats a second while thousands of executions run",
    "history": "the engine's regular work beside years of executions",
    "fleet": "a tool call through the gateway against one without it; calls a second; open sessions",
    "agents": "what an agent's start costs; the images with and without agents",
}
"""Name -> what it measures, in the order in which they run: what needs an idle machine, then what shares an Airflow."""

_PARTS = {
    "kubernetes": "kubernetes", "scale": "kubernetes", "engine": "engine", "history": "engine", "fleet": "fleet",
    "agents": "fleet",
}  # fmt: skip
"""Not among the default, as they need a cluster or PostgreSQL; name -> the page's part that is theirs."""
_BUSY = 0.25
_SECONDS = 300


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmarks; return the exit code."""
    options = _parse(arguments)
    # dag-factory would tell its makers about every DAG
    os.environ["DO_NOT_TRACK"] = "1"
    raise_on_signals()
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 140)
    facts = {"command": _command(options), **describe(options.machine), "date": f"{datetime.now(UTC):%Y-%m-%d}"}
    console.print(", ".join(f"{name}: {value}" for name, value in facts.items()), markup=False)
    if options.quick:
        console.print("--quick shows that the benchmarks work; its figures mean nothing.")
    elif load_per_core() > _BUSY:
        console.print("The machine is busy: CPU times suffer, wall times mean nothing. Better wait.", style="yellow")
    try:
        tables = _run(options, console)
    except Stopped as signal:
        print(f"bench: stopped by {signal}; nothing is left running", file=sys.stderr)
        return 130
    except Exception as error:
        from benchmarks.bench import BenchmarkError

        if not isinstance(error, BenchmarkError | SupervisorError | InstanceError | ApiError):
            raise
        print(f"bench: {error}", file=sys.stderr)
        return 1
    if options.json:
        document = {**facts, "quick": options.quick, "tables": [table.as_dict() for table in tables]}
        options.json.write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n")
    if options.page:
        parts = {_PARTS.get(name, "") for name in options.names}
        update_page(options.page, facts, tables, part=parts.pop() if len(parts) == 1 else "")
    return 0


def _run(options: argparse.Namespace, console: Console) -> list[Table]:
    from benchmarks.bench import Bench

    def say(text: str) -> None:
        print(f"bench: {text}", file=sys.stderr, flush=True)

    tables: list[Table] = []
    with Bench(quick=options.quick, postgres=options.postgres, seconds=options.seconds, say=say) as bench:
        for name in BENCHMARKS:
            if name in options.names:
                for table in importlib.import_module(f"benchmarks.{name}").measure(bench):
                    table.show(console)
                    tables.append(table)
    return tables


def _command(options: argparse.Namespace) -> str:
    """Return the command that measures the same; where the results go is no part of that."""
    names = [] if options.names == [n for n in BENCHMARKS if n not in _PARTS] else options.names
    switches = [f"--{name}" for name in ("quick", "postgres") if getattr(options, name)]
    switches += [f"--seconds {options.seconds}"] if options.seconds != _SECONDS else []
    return " ".join(["python -m benchmarks", *names, *switches])


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    listed = "\n".join(f"  {name:14}{what}" for name, what in BENCHMARKS.items())
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description=f"Measure the figures of the design.\n\n{listed}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="benchmarks to run (default: all)")
    parser.add_argument("--quick", action="store_true", help="tiny sizes: shows that it works")
    parser.add_argument("--postgres", action="store_true", help="Airflow on PostgreSQL instead of SQLite")
    parser.add_argument("--seconds", type=int, default=_SECONDS, help="how long `engine` calls (default: 300)")
    parser.add_argument("--machine", help="the machine in a few words, for the record")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures to FILE")
    parser.add_argument("--page", type=Path, metavar="FILE", help="write the tables into a Markdown page")
    options = parser.parse_args(arguments)
    if unknown := [name for name in options.names if name not in BENCHMARKS]:
        parser.error(f"there is no benchmark {unknown[0]!r}; choose from {', '.join(BENCHMARKS)}")
    options.names = options.names or [name for name in BENCHMARKS if name not in _PARTS]
    return options


if __name__ == "__main__":
    raise SystemExit(main())
