"""`sop submit`, `status`, `result`, `cancel`, `list`, `mode`, `export`: the engine of an Airflow from a terminal."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import click

from airflow_sop_provider.cli.connection import EXIT_NOT_COMPLETED
from airflow_sop_provider.cli.connection import engine as connection
from airflow_sop_provider.cli.console import read_sop
from airflow_sop_provider.cli.tables import moment, print_table, seconds_in_words
from airflow_sop_provider.cli.watching import follow_to_end, status_as_dict
from airflow_sop_provider.client import ExecutionStatus
from airflow_sop_provider.sop.problems import printable

__all__ = ["cancel", "export", "list_executions", "show_mode", "show_result", "show_status", "submit", "validate_tools"]


def submit(
    url: str, sop: str, inputs: str, mode: str, priority: str | None, batch: str | None, key: str | None,
    *, follow: bool, as_json: bool,
) -> int:  # fmt: skip
    """Start an execution; with ``follow`` wait for its end and return 1 unless it completed."""
    with connection(url) as engine:
        schedule = None if batch is None else {"batch": batch}
        execution = engine.submit_execution(
            sop, _object(inputs), execution_mode=mode, priority=priority, schedule=schedule, idempotency_key=key
        )
        if not follow:
            click.echo(json.dumps({"execution": execution}) if as_json else execution)
            return 0
        click.echo(execution, err=True)
        return follow_to_end(engine, [execution], as_json=as_json)


def show_status(url: str, execution: str, *, as_json: bool) -> int:
    """Print where an execution stands."""
    with connection(url) as engine:
        _print_status(engine.get_execution_status(execution), as_json=as_json)
    return 0


def show_result(url: str, execution: str, *, as_json: bool) -> int:
    """Print an execution with its attempts and result; return 1 while it is not over."""
    with connection(url) as engine:
        found = engine.result(execution)
    if as_json:
        click.echo(json.dumps(found, indent=2))
    else:
        _print_result(found)
    return 0 if found["result"] is not None else EXIT_NOT_COMPLETED


def export(url: str, execution: str, output: Path | None, *, as_json: bool) -> int:
    """Write the archive of an execution; a file that is there is not overwritten."""
    with connection(url) as engine:
        archive = engine.export(execution)
    path = output or Path(re.sub(r"[^A-Za-z0-9_.+-]+", "_", execution) + ".zip")
    with path.open("xb") as file:
        file.write(archive)
    click.echo(json.dumps({"file": str(path), "bytes": len(archive)}) if as_json else str(path))
    return 0


def validate_tools(url: str, file: Path, *, as_json: bool) -> int:
    """Take the tools that an SOP uses as validated, as its servers describe them now."""
    sop = read_sop(file)
    servers: dict[str, list[str]] = {}
    for source in sop.sop.data_sources.values():
        servers.setdefault(source.server, []).extend(source.tools)
    with connection(url) as engine:
        digests = engine.validate_tools(sop.sop.sop, servers)
    if as_json:
        click.echo(json.dumps(digests))
    else:
        for server, tools in digests.items():
            for tool, digest in tools.items():
                click.echo(f"{server}.{tool}  {digest[:12]}")
    return 0


def cancel(url: str, execution: str, reason: str | None, *, as_json: bool) -> int:
    """Cancel an execution."""
    with connection(url) as engine:
        engine.cancel_execution(execution, reason)
    if as_json:
        click.echo(json.dumps({"execution": execution, "cancelled": True, "reason": reason}))
    click.echo(f"{execution} is cancelled; its running steps end within seconds", err=True)
    return 0


def show_mode(url: str, sop: str, mode: str | None, reason: str | None, *, as_json: bool) -> int:
    """Print the mode of a control, changed before if one is given."""
    with connection(url) as engine:
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
    with connection(url) as engine:
        page = engine.list_executions(**filters)
    if as_json:
        click.echo(json.dumps(page))
        return 0
    rows = [
        (one["status"], moment(one["submitted_at"]), one["priority"], one["control"], f"{one['sop']}/{one['run_id']}")
        for one in page["executions"]
    ]
    print_table(["status", "submitted (UTC)", "priority", "control", "execution"], rows)
    if page["next_cursor"]:
        click.echo(f"more with --cursor {page['next_cursor']}", err=True)
    return 0


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
        click.echo(json.dumps(status_as_dict(now)))
        return
    elapsed = "" if now.elapsed_seconds is None else f", {seconds_in_words(now.elapsed_seconds)}"
    click.echo(f"{now.status}, {now.progress:.0%}{elapsed}{', longer than expected' if now.flagged else ''}")
    print_table(["state", "step"], [(state, step) for step, state in now.steps.items()])


def _print_result(found: dict[str, Any]) -> None:
    of, result = found["execution"], found["result"]
    click.echo(f"{of['sop']}/{of['run_id']}: {of['status']}")
    rows = [
        (
            one["step"], one["map_index"] if one["map_index"] >= 0 else None, one["attempt"], one["state"],
            moment(one["started_at"]), one["error_type"], one["error_message"],
        )
        for one in found["attempts"]
    ]  # fmt: skip
    if rows:
        click.echo()
        print_table(["step", ">item", ">attempt", "state", "began (UTC)", "error", "message"], rows)
    if result is not None:
        click.echo(f"\noutputs:\n{printable(json.dumps(result['outputs'], indent=2, ensure_ascii=False))}")
