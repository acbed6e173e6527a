"""Approvals in a terminal: what waits, what exactly it is about, and answers to it."""

from __future__ import annotations

import json
from typing import Any

import click

from airflow_sop_provider.cli.connection import engine
from airflow_sop_provider.cli.tables import moment, print_table
from airflow_sop_provider.client import ExecutionCoordinator, RefusedError
from airflow_sop_provider.sop.problems import printable

__all__ = ["answer", "list_waiting", "show"]

_PAGE = 100


def list_waiting(url: str, sop: str | None, *, everything: bool, as_json: bool) -> int:
    """Print the approvals that wait: those that the caller may answer, or all that they may see."""
    found: list[dict[str, Any]] = []
    with engine(url) as client:
        before: int | None = None
        while True:
            page = client.approvals(
                state="waiting", sop=sop, mine=str(not everything).lower(), before=before, limit=_PAGE
            )
            found += page["approvals"]
            before = page["next_before"]
            if before is None:
                break
    if as_json:
        click.echo(json.dumps(found))
        return 0
    if not found:
        click.echo("nothing waits" if everything else "nothing waits for you; --all lists what waits for others")
        return 0
    print_table(
        [">approval", "execution", "step", "asked", "until", ">given", "may approve"],
        [
            (
                one["id"],
                f"{one['sop']}/{one['run_id']}",
                _step(one),
                moment(one["asked_at"]),
                moment(one["expires_at"]) if one["expires_at"] else "",
                f"{len(one['answers'])} of {one['policy'].get('quorum', 1)}",
                ", ".join(one["policy"]["by"]),
            )
            for one in found
        ],
    )
    return 0


def show(url: str, approval: int, *, as_json: bool) -> int:
    """Print one approval: what is asked, of whom, and what was said."""
    with engine(url) as client:
        found = _find(client, approval)
    _print(found, as_json=as_json)
    return 0


def answer(url: str, approval: int, choice: str, comment: str | None, meaning: str | None, *, as_json: bool) -> int:
    """Answer an approval as the caller, and print how it stands then."""
    with engine(url) as client:
        sop = _find(client, approval)["sop"]
        found = client.answer(sop, approval, choice, comment=comment, meaning=meaning)
    _print(found, as_json=as_json)
    return 0


def _find(client: ExecutionCoordinator, approval: int) -> dict[str, Any]:
    page = client.approvals(approval=approval)["approvals"]
    if not page:
        raise RefusedError(f"there is no approval {approval} that you may see", 404)
    found: dict[str, Any] = page[0]
    return found


def _step(one: dict[str, Any]) -> str:
    return one["step"] if one["map_index"] < 0 else f"{one['step']}[{one['map_index']}]"


def _print(one: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(one))
        return
    asked, policy = one["question"], one["policy"]
    click.echo(f"{one['id']}: {printable(asked['title'])} ({one['state']})")
    for name in ("question", "guidance"):
        if asked.get(name):
            click.echo(f"  {printable(asked[name])}")
    click.echo(f"  execution {one['sop']}/{one['run_id']}, step {_step(one)}")
    people = ", ".join(policy["by"])
    barred = f", not {one['requester'] or 'whoever triggers it'}" if policy.get("not_by") else ""
    click.echo(f"  {policy.get('quorum', 1)} of {people}{barred}")
    if one["expires_at"]:
        click.echo(f"  until {moment(one['expires_at'])} UTC")
    click.echo(f"  of exactly {one['subject']}")
    for said in one["answers"]:
        comment = f": {printable(said['comment'])}" if said["comment"] else ""
        click.echo(f"  {said['by']} {said['choice']} {moment(said['at'])}{comment}")
    if one["state"] == "waiting" and one["refusal"]:
        click.echo(f"  you cannot answer: {one['refusal']}")
