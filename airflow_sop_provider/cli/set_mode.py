"""`sop set-mode`: change the execution mode in an SOP's file, and nothing else in it."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import click

from airflow_sop_provider.cli.console import SopFileError, read_sop
from airflow_sop_provider.sop import SopError, set_mode
from airflow_sop_provider.sop.models import Mode
from airflow_sop_provider.sop.replace_file import replace_file

__all__ = ["change_mode"]


def change_mode(file: Path, mode: str) -> None:
    """Set `mode` in the SOP of `file`.

    :param mode: a mode, or `auto`.
    :raises SopFileError: when the SOP is not valid, or not compatible with the mode; each reason has its line.
    """
    loaded = read_sop(file)
    if loaded.sop.mode == mode:
        click.echo(f"{file} has mode {mode} already.")
        return
    try:
        changed = set_mode(loaded.text, cast(Mode, mode), str(file))
    except SopError as error:
        raise SopFileError(error) from error
    replace_file(file, changed)
    chosen = read_sop(file).mode
    runs_as = f" It runs as {chosen.mode}: {chosen.reason}." if mode == "auto" else ""
    click.echo(f"{file}: mode {loaded.sop.mode} -> {mode}.{runs_as}")
