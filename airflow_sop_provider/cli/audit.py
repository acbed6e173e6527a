"""`sop audit verify`: the verifier that travels in every export, from an installation one trusts; `sop audit list`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from airflow_sop_provider.audit.verifier_main import read_key, render
from airflow_sop_provider.audit.verify import UnreadableError, verify_path
from airflow_sop_provider.cli.connection import engine
from airflow_sop_provider.cli.tables import moment, print_table

__all__ = ["list_entries", "verify"]


def verify(path: Path, *, key: str | None, digests: Path | None, as_json: bool) -> int:
    """Verify and print what was found.

    :returns: 1 if anything is wrong, else 0.
    :raises click.ClickException: the path holds nothing that can be verified, or the key is none.
    """
    try:
        report = verify_path(path, key=read_key(key) if key is not None else None, digests=digests)
    except (UnreadableError, ValueError) as error:
        raise click.ClickException(str(error)) from error
    click.echo(render(report, as_json=as_json))
    return 0 if report.ok else 1


def list_entries(url: str, filters: dict[str, Any], *, as_json: bool) -> int:
    """Print a page of the entries that match, the oldest first."""
    with engine(url) as client:
        page = client.audit_entries(**filters)
    if as_json:
        click.echo(json.dumps(page))
        return 0
    rows = [
        (moment(one["time"]), one["level"], one["execution"], one["kind"], one["component"], one["message"])
        for one in page["entries"]
    ]
    print_table(["time (UTC)", "level", "execution", "kind", "component", "message"], rows)
    if page["cursor"]:
        click.echo(f"more with --cursor {page['cursor']}", err=True)
    return 0
