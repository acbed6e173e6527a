"""The commands of `sop` that speak to an Airflow's engine: their arguments, help and examples, and nothing else."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import click

from airflow_sop_provider.cli.options import AS_JSON as _JSON
from airflow_sop_provider.cli.options import MOMENT, STATUSES
from airflow_sop_provider.cli.options import URL as _URL

__all__ = ["COMMANDS"]


@click.command(short_help="Start an execution.")
@click.argument("sop")
@click.option("--inputs", default="{}", metavar="JSON", help="Inputs as a JSON object.")
@click.option("--mode", type=click.Choice(["auto", "system_design", "agent_centric"]), default="auto")
@click.option("--priority", type=click.Choice(["critical", "high", "normal", "low"]), help="Default: the SOP's.")
@click.option("--batch", help="Name of the batch it belongs to.")
@click.option("--key", help="Idempotency key: the same key again gives the same execution.")
@click.option("--follow", is_flag=True, help="Watch it to its end; exit code 1 unless it completed.")
@_URL
@_JSON
def submit(
    sop: str, inputs: str, mode: str, priority: str | None, batch: str | None, key: str | None, follow: bool, url: str,
    as_json: bool,
) -> int:  # fmt: skip
    """Start an execution of an SOP and print its id.

    Who calls is read from SOP_TOKEN, or from SOP_USER and SOP_PASSWORD.

    \b
    Examples:
      sop submit software-licence-review --follow
      sop submit vendor-bank-change --inputs '{"vendor_id": "V-000001"}' --priority high
    """
    from airflow_sop_provider.cli import executions

    return executions.submit(url, sop, inputs, mode, priority, batch, key, follow=follow, as_json=as_json)


@click.command(short_help="Say where an execution stands.")
@click.argument("execution", metavar="SOP/RUN_ID")
@_URL
@_JSON
def status(execution: str, url: str, as_json: bool) -> int:
    """Say where an execution stands: status, progress, time and the state of every step.

    \b
    Examples:
      sop status software-licence-review/manual__2026-11-25T08:00:00+00:00_1a2b3c4d
    """
    from airflow_sop_provider.cli import executions

    return executions.show_status(url, execution, as_json=as_json)


@click.command(short_help="Print what an execution came to.")
@click.argument("execution", metavar="SOP/RUN_ID")
@_URL
@_JSON
def result(execution: str, url: str, as_json: bool) -> int:
    """Print what an execution came to: its status, every attempt, its outputs. Exit code 1 while it is not over.

    \b
    Examples:
      sop result software-licence-review/manual__2026-11-25T08:00:00+00:00_1a2b3c4d --json | jq .result.outputs
    """
    from airflow_sop_provider.cli import executions

    return executions.show_result(url, execution, as_json=as_json)


@click.command(short_help="Cancel an execution.")
@click.argument("execution", metavar="SOP/RUN_ID")
@click.option("--reason", help="Why; kept with the execution and in the audit log.")
@_URL
@_JSON
def cancel(execution: str, reason: str | None, url: str, as_json: bool) -> int:
    """Cancel an execution: its running steps are ended, nothing else of it starts.

    \b
    Examples:
      sop cancel software-licence-review/manual__2026-11-25T08:00:00+00:00_1a2b3c4d --reason "wrong vendor"
    """
    from airflow_sop_provider.cli import executions

    return executions.cancel(url, execution, reason, as_json=as_json)


@click.command(short_help="Show or change the mode of a control.")
@click.argument("sop")
@click.argument("mode", required=False, type=click.Choice(["auto", "system_design", "agent_centric"]))
@click.option("--reason", help="Why; kept with the change and in the audit log.")
@_URL
@_JSON
def mode(sop: str, mode: str | None, reason: str | None, url: str, as_json: bool) -> int:
    """Show the mode of a control in an Airflow and how it was changed; with MODE change it, if its steps allow that.

    It holds for executions that start from then on. `sop set-mode` does the same to a file, without an Airflow.

    \b
    Examples:
      sop mode package-brief
      sop mode package-brief system_design --reason "the steps are to be seen one by one"
    """
    from airflow_sop_provider.cli import executions

    return executions.show_mode(url, sop, mode, reason, as_json=as_json)


@click.command("list", short_help="List executions.")
@click.option("--sop", help="Of this SOP only.")
@click.option("--control", help="Of this control only.")
@click.option(
    "--status",
    "wanted",
    multiple=True,
    type=click.Choice(STATUSES, case_sensitive=False),
    help="With this status only; may be given several times.",
)
@click.option("--mode", type=click.Choice(["system_design", "agent_centric"]), help="With this mode only.")
@click.option("--priority", type=click.Choice(["critical", "high", "normal", "low"]), help="With this priority only.")
@click.option("--agent", help="Of this agent only.")
@click.option("--batch", help="Of this batch only.")
@click.option("--since", type=MOMENT, help="Submitted from then on: 2h (ago), 2026-11-25, 2026-11-25T08:00+01:00.")
@click.option("--until", type=MOMENT, help="Submitted before then.")
@click.option("--limit", type=click.IntRange(1, 500), default=50, show_default=True)
@click.option("--cursor", help="Those after a page that was printed.")
@_URL
@_JSON
def list_executions(
    sop: str | None, control: str | None, wanted: tuple[str, ...], mode: str | None, priority: str | None,
    agent: str | None, batch: str | None, since: datetime | None, until: datetime | None, limit: int,
    cursor: str | None, url: str, as_json: bool,
) -> int:  # fmt: skip
    """List executions that you may see, the newest first.

    \b
    Examples:
      sop list --status RUNNING
      sop list --control AP-017 --since 24h
      sop list --sop software-licence-review --json | jq '.executions[].status'
    """
    from airflow_sop_provider.cli import executions

    filters = {
        "sop": sop, "control": control, "status": list(wanted) or None, "mode": mode, "priority": priority,
        "agent": agent, "batch": batch, "submitted_from": since, "submitted_until": until, "limit": limit,
        "cursor": cursor,
    }  # fmt: skip
    return executions.list_executions(url, filters, as_json=as_json)


@click.command(short_help="Save all of an execution, to verify it elsewhere.")
@click.argument("execution", metavar="SOP/RUN_ID")
@click.option(
    "-o", "--output", type=click.Path(dir_okay=False, path_type=Path), help="File to write; default: named after it."
)
@_URL
@_JSON
def export(execution: str, output: Path | None, url: str, as_json: bool) -> int:
    """Save everything of an execution as one archive: inputs, outputs, SOP, audit chain, signed digest, versions.

    It can be verified where there is no Airflow: `sop audit verify`, or the script in it. Nothing is overwritten.

    \b
    Examples:
      sop export software-licence-review/manual__2026-11-25T08:00:00+00:00_1a2b3c4d -o export.zip
      sop audit verify export.zip
    """
    from airflow_sop_provider.cli import executions

    return executions.export(url, execution, output, as_json=as_json)


COMMANDS = (submit, status, result, cancel, list_executions, mode, export)
