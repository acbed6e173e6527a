"""`sop approve`: its arguments, help and examples."""

from __future__ import annotations

import click

from airflow_sop_provider.cli.options import AS_JSON, URL

__all__ = ["COMMANDS"]


@click.command(short_help="List what waits for your approval, and answer it.")
@click.argument("approval", type=click.IntRange(min=1), required=False)
@click.option("--choice", type=click.Choice(["approved", "rejected"]), help="Your answer; without it, it is shown.")
@click.option("--comment", help="Recorded with your signature.")
@click.option("--meaning", help="What your signature states; default: what the SOP says.")
@click.option("--all", "everything", is_flag=True, help="List also what waits for others.")
@click.option("--sop", help="List those of this SOP only.")
@URL
@AS_JSON
def approve(
    approval: int | None, choice: str | None, comment: str | None, meaning: str | None, everything: bool,
    sop: str | None, url: str, as_json: bool,
) -> int:  # fmt: skip
    """List what waits for your approval; with its number show it, and with a choice answer it.

    Who answers is the user of SOP_TOKEN, or of SOP_USER and SOP_PASSWORD. Exit code 3: your answer does not count, as
    you are not named, triggered the execution or have answered; 4: no answer counts any more, or what it was about has
    changed. Either is recorded.

    \b
    Examples:
      sop approve
      sop approve 17
      sop approve 17 --choice approved --comment "checked against the contract"
    """
    from airflow_sop_provider.cli import approvals

    if approval is None:
        if choice is not None or comment is not None or meaning is not None:
            raise click.UsageError("say which approval you answer: its number, as `sop approve` lists it")
        return approvals.list_waiting(url, sop, everything=everything, as_json=as_json)
    if choice is None:
        if comment is not None or meaning is not None:
            raise click.UsageError("say what you answer: --choice approved or --choice rejected")
        return approvals.show(url, approval, as_json=as_json)
    return approvals.answer(url, approval, choice, comment, meaning, as_json=as_json)


COMMANDS = (approve,)
