"""`sop audit verify`: the verifier that travels in every export, from an installation one trusts."""

from __future__ import annotations

from pathlib import Path

import click

from airflow_sop_provider.audit.verifier_main import read_key, render
from airflow_sop_provider.audit.verify import UnreadableError, verify_path

__all__ = ["verify"]


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
