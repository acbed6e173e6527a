"""The commands of `sop` that watch, read and complete: their arguments, help and examples, and nothing else."""

from __future__ import annotations

from datetime import datetime

import click

from airflow_sop_provider.cli.options import AS_JSON, MOMENT, SECONDS, URL

__all__ = ["COMMANDS", "audit_list"]


@click.command(short_help="Watch executions to their end.")
@click.argument("executions", metavar="SOP/RUN_ID...", nargs=-1, required=True)
@click.option("--timeout", type=SECONDS, help="Give up watching after that: 90s, 2h. Exit code 124; they go on.")
@URL
@AS_JSON
def watch(executions: tuple[str, ...], timeout: float | None, url: str, as_json: bool) -> int:
    """Watch executions to their end: bars on a terminal, a line for each change otherwise.

    Exit code 0 if all completed, 1 if one did not.

    \b
    Examples:
      sop watch software-licence-review/manual__2026-11-25T08:00:00+00:00_1a2b3c4d
      sop submit software-licence-review | xargs sop watch --timeout 10m
      sop watch $(sop list --batch nightly --json | jq -r '.executions[] | "\\(.sop)/\\(.run_id)"')
    """
    from airflow_sop_provider.cli.watching import watch as to_the_end

    return to_the_end(url, executions, timeout=timeout, as_json=as_json)


@click.command(short_help="Print the log of a step.")
@click.argument("execution", metavar="SOP/RUN_ID")
@click.argument("step")
@click.option("--attempt", type=click.IntRange(min=1), help="Number of the attempt.  [default: the latest]")
@click.option("--item", type=click.IntRange(min=0), help="Number of the item, of a step with `for_each`.")
@click.option("-f", "--follow", is_flag=True, help="Go on as it is written, up to the step's end.")
@URL
@AS_JSON
def logs(
    execution: str, step: str, attempt: int | None, item: int | None, follow: bool, url: str, as_json: bool
) -> int:
    """Print what a step of an execution wrote, as Airflow keeps it.

    \b
    Examples:
      sop logs software-licence-review/manual__2026-11-25T08:00:00+00:00_1a2b3c4d inventory
      sop logs software-licence-review/manual__2026-11-25T08:00:00+00:00_1a2b3c4d inventory --attempt 1
      sop logs software-licence-review/manual__2026-11-25T08:00:00+00:00_1a2b3c4d inventory --follow
    """
    from airflow_sop_provider.cli.step_logs import show_log

    return show_log(url, execution, step, attempt=attempt, item=item, follow=follow, as_json=as_json)


@click.command(short_help="Print figures of a window of time.")
@click.option("--since", type=MOMENT, help="Its beginning: 2h (ago), 2026-11-25.  [default: 24h before its end]")
@click.option("--until", type=MOMENT, help="Its end.  [default: now]")
@URL
@AS_JSON
def metrics(since: datetime | None, until: datetime | None, url: str, as_json: bool) -> int:
    """Print counts, success rate, durations, errors and use of resources of the executions that you may see.

    \b
    Examples:
      sop metrics
      sop metrics --since 7d
      sop metrics --since 2026-11-01 --until 2026-12-01 --json | jq .success_rate
    """
    from airflow_sop_provider.cli.figures import show_metrics

    return show_metrics(url, since, until, as_json=as_json)


@click.command("list", short_help="List entries of the audit log.")
@click.option("--execution", metavar="SOP/RUN_ID", help="Of this execution only.")
@click.option("--sop", help="Of this SOP's executions only.")
@click.option("--agent", help="Of this agent only.")
@click.option("--since", type=MOMENT, help="From then on: 2h (ago), 2026-11-25, 2026-11-25T08:00+01:00.")
@click.option("--until", type=MOMENT, help="Before then.")
@click.option("--status", help="Of executions with this status now.")
@click.option("--level", type=click.Choice(["debug", "info", "warning", "error"]), help="Of this level only.")
@click.option("--kind", help="Of this kind only, such as attempt.end, decision, data.access.")
@click.option("--step", help="Of this step only.")
@click.option("--text", help="With this in the message.")
@click.option("--limit", type=click.IntRange(1, 1000), default=100, show_default=True)
@click.option("--cursor", help="Those after a page that was printed.")
@URL
@AS_JSON
def audit_list(url: str, as_json: bool, **filters: object) -> int:
    """List the entries of the audit log that match all that is given, the oldest first.

    \b
    Examples:
      sop audit list --execution software-licence-review/manual__2026-11-25T08:00:00+00:00_1a2b3c4d
      sop audit list --sop vendor-bank-change --level error --since 7d
      sop audit list --text escalated --since 2026-11-01 --until 2026-12-01 --json | jq '.entries[].message'
    """
    from airflow_sop_provider.cli.audit import list_entries

    return list_entries(url, filters, as_json=as_json)


@click.command(short_help="Print what makes your shell complete `sop`.")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print the script that makes a shell complete commands, options and their values.

    \b
    Examples:
      sop completion bash > ~/.local/share/bash-completion/completions/sop
      sop completion zsh > ~/.zfunc/_sop        with ~/.zfunc in fpath, before compinit
      sop completion fish > ~/.config/fish/completions/sop.fish
    """
    from click.shell_completion import get_completion_class

    made = get_completion_class(shell)
    assert made is not None
    click.echo(made(ctx.find_root().command, {}, "sop", "_SOP_COMPLETE").source())


COMMANDS = (watch, logs, metrics, completion)
