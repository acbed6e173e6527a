"""`sop parity`: an SOP in both modes, side by side, for a person or as one JSON document."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from airflow_sop_provider.cli.console import read_sop
from airflow_sop_provider.evals.parity import MODES, ImpossibleMode, ModeRun, Parity, compare_modes
from airflow_sop_provider.runner.agents.site import MODELS_FILE_VARIABLE
from airflow_sop_provider.sop.problems import printable

__all__ = ["show_parity"]

_WIDTH = 300
"""Characters of a value that are shown to a person."""


def show_parity(
    file: Path, inputs: str, fleet: Path, models: Path | None, log: Path | None, *, as_json: bool
) -> int:  # fmt: skip
    """Carry an SOP out in both modes and print the comparison.

    :returns: 1 if the results are not equivalent, else 0.
    :raises click.ClickException: one agent cannot carry the SOP out.
    """
    loaded = read_sop(file)
    if models is not None:
        os.environ[MODELS_FILE_VARIABLE] = str(models.absolute())
    with tempfile.TemporaryDirectory() as folder:
        try:
            parity = compare_modes(loaded, _inputs(inputs), fleet, log or Path(folder) / "log.jsonl")
        except ImpossibleMode as error:
            raise click.ClickException(str(error)) from error
    if as_json:
        click.echo(json.dumps(_document(loaded.sop.sop, parity), indent=2, ensure_ascii=False))
    else:
        for line in _lines(loaded.sop.sop, parity):
            click.echo(printable(line))
    return 0 if parity.equivalent else 1


def _inputs(text: str) -> dict[str, Any]:
    try:
        inputs = json.loads(text)
    except ValueError as error:
        raise click.BadParameter(f"it is no JSON: {error}", param_hint="--inputs") from error
    if not isinstance(inputs, dict):
        raise click.BadParameter('it is no JSON object, such as {"name": "value"}', param_hint="--inputs")
    return inputs


def _lines(sop: str, parity: Parity) -> Iterator[str]:
    runs = [parity.runs[mode] for mode in MODES]
    rows = [("", *MODES), *(_row(name, runs) for name in _ROWS)]
    width = max(len(row[0]) for row in rows)
    columns = max(len(cell) for row in rows for cell in row[1:])
    yield from (f"{row[0]:<{width}}  {row[1]:<{columns}}  {row[2]}".rstrip() for row in rows)
    for run in runs:
        yield from (f"{run.mode}: step {step} failed: {message}" for step, message in run.failures.items())
        yield from (f"{run.mode}: departs from the SOP: {text}" for text in run.deviations)
        for step in sorted(run.free_text & run.outputs.keys()):
            yield f"{run.mode}: {step} says {_shown(run.outputs[step])}"
    for found in parity.differences:
        yield f"differs: {found.what}: {_shown(found.system_design)} and {_shown(found.agent_centric)}"
    yield f"{sop}: the results are {'equivalent' if parity.equivalent else 'NOT equivalent'} in both modes"


_ROWS = ("status", "seconds", "steps with outputs", "decisions", "tool calls", "model calls", "tokens", "repairs")


def _row(name: str, runs: list[ModeRun]) -> tuple[str, str, str]:
    one, other = (_cell(name, run) for run in runs)
    return name, one, other


def _cell(name: str, run: ModeRun) -> str:
    cells: dict[str, Any] = {
        "status": run.status,
        "seconds": f"{run.seconds:.1f}",
        "steps with outputs": len(run.outputs),
        "decisions": ", ".join(f"{step}={choice}" for step, choice in run.decisions.items()) or "none",
        "tool calls": len(run.tools),
        "model calls": f"{run.spent['model_calls'] or 0:g}",
        "tokens": f"{run.spent['input_tokens'] or 0:g} + {run.spent['output_tokens'] or 0:g}",
        "repairs": f"{run.spent['repairs'] or 0:g}",
    }
    return str(cells[name])


def _shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _WIDTH else f"{text[:_WIDTH]}…"


def _document(sop: str, parity: Parity) -> dict[str, Any]:
    runs = {mode: {**asdict(run), "free_text": sorted(run.free_text)} for mode, run in parity.runs.items()}
    return {
        "sop": sop,
        "equivalent": parity.equivalent,
        "runs": runs,
        "differences": [asdict(found) for found in parity.differences],
    }
