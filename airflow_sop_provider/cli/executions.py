"""`sop submit`, `status`, `result`, `cancel`, `executions`: the engine of an Airflow from a terminal."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from airflow_sop_provider.cli.console import read_sop
from airflow_sop_provider.client import EngineError, ExecutionCoordinator, ExecutionStatus, RefusedError

__all__ = ["cancel", "export", "list_executions", "show_mode", "show_result", "show_status", "submit", "validate_tools"]

_SUCCESS = "COMPLETED"


def submit(
    url: str, sop: str, inputs: str, mode: str, priority: str | None, batch: str | None, key: str | None,
    *, follow: bool, as_json: bool,
) -> int:  # fmt: skip
    """Start an execution; with ``follow`` wait for its end and return 1 unless it completed."""
    with _engine(url) as engine:
        schedule = None if batch is None else {"batch": batch}
        execution = engine.submit_execution(
            sop, _object(inputs), execution_mode=mode, priority=priority, schedule=schedule, idempotency_key=key
        )
        if not follow:
            click.echo(json.dumps({"execution": execution}) if as_json else execution)
            return 0
        click.echo(execution, err=True)
        end = engine.wait(execution)
        _print_status(end, as_json=as_json)
        return 0 if end.status == _SUCCESS else 1


def show_status(url: str, execution: str, *, as_json: bool) -> int:
    """Print where an execution stands."""
    with _engine(url) as engine:
        _print_status(engine.get_execution_status(execution), as_json=as_json)
    return 0


def show_result(url: str, execution: str) -> int:
    """Print an execution with its attempts and result as JSON; return 1 while it is not over."""
    with _engine(url) as engine:
        found = engine.result(execution)
    click.echo(json.dumps(found, indent=2))
    return 0 if found["result"] is not None else 1


def export(url: str, execution: str, output: Path | None) -> int:
    """Write the archive of an execution; a file that is there is not overwritten."""
    with _engine(url) as engine:
        archive = engine.export(execution)
    path = output or Path(re.sub(r"[^A-Za-z0-9_.+-]+", "_", execution) + ".zip")
    with path.open("xb") as file:
        file.write(archive)
    click.echo(str(path))
    return 0


def validate_tools(url: str, file: Path, *, as_json: bool) -> int:
    """Take the tools that an SOP uses as validated, as its servers describe them now."""
    sop = read_sop(file)
    servers: dict[str, list[str]] = {}
    for source in sop.sop.data_sources.values():
        servers.setdefault(source.server, []).extend(source.tools)
    with _engine(url) as engine:
        digests = engine.validate_tools(sop.sop.sop, servers)
    if as_json:
        click.echo(json.dumps(digests))
    else:
        for server, tools in digests.items():
            for tool, digest in tools.items():
                click.echo(f"{server}.{tool}  {digest[:12]}")
    return 0


def cancel(url: str, execution: str, reason: str | None) -> int:
    """Cancel an execution."""
    with _engine(url) as engine:
        engine.cancel_execution(execution, reason)
    click.echo(f"{execution} is cancelled; its running steps end within seconds", err=True)
    return 0


def show_mode(url: str, sop: str, mode: str | None, reason: str | None, *, as_json: bool) -> int:
    """Print the mode of a control, changed before if one is given."""
    with _engine(url) as engine:
        found = engine.mode(sop) if mode is None else engine.change_mode(sop, mode, reason)
    if as_json:
        click.echo(json.dumps(found))
        return 0
    click.echo(f"{sop}: {found['mode']}, runs as {found['runs_as']}: {found['reason']}")
    for change in found["changes"]:
        why = f": {change['reason']}" if change["reason"] else ""
        click.echo(
            f"  {change['changed_at']}  {change['old_mode']} -> {change['new_mode']} by {change['changed_by']}{why}"
        )
    return 0


def list_executions(url: str, filters: dict[str, Any], *, as_json: bool) -> int:
    """Print a page of executions, the newest first."""
    with _engine(url) as engine:
        page = engine.list_executions(**filters)
    if as_json:
        click.echo(json.dumps(page))
        return 0
    for one in page["executions"]:
        click.echo(f"{one['status']:<20} {one['submitted_at']:<28} {one['sop']}/{one['run_id']}")
    if page["next_cursor"]:
        click.echo(f"more with --cursor {page['next_cursor']}", err=True)
    return 0


@contextmanager
def _engine(url: str) -> Iterator[ExecutionCoordinator]:
    """Give a client; who calls stands in the environment, as arguments are visible to everybody on a machine."""
    token, user = os.environ.get("SOP_TOKEN"), os.environ.get("SOP_USER")
    if not token and not user:
        raise click.UsageError("set SOP_TOKEN to a token of Airflow's API, or SOP_USER and SOP_PASSWORD")
    password = os.environ.get("SOP_PASSWORD")
    with ExecutionCoordinator(url, token=token, user=None if token else user, password=password) as engine:
        try:
            yield engine
        except RefusedError as error:
            raise click.ClickException(f"refused: {error}") from error
        except EngineError as error:
            raise click.ClickException(str(error)) from error


def _object(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except ValueError as error:
        raise click.UsageError(f"--inputs is not JSON: {error}") from None
    if not isinstance(value, dict):
        raise click.UsageError('--inputs is a JSON object: {"name": value}')
    return value


def _print_status(now: ExecutionStatus, *, as_json: bool) -> None:
    if as_json:
        shown = {**vars(now), "current_steps": list(now.current_steps), "steps": dict(now.steps)}
        click.echo(json.dumps(shown))
        return
    elapsed = "" if now.elapsed_seconds is None else f", {now.elapsed_seconds:.1f} s"
    click.echo(f"{now.status}, {now.progress:.0%}{elapsed}{', over twice its expected time' if now.flagged else ''}")
    for step, state in now.steps.items():
        click.echo(f"  {state:<10} {step}")
