"""`sop new`: a commented, valid SOP in the shape that was asked for.

The templates are YAML files, so they are read and checked like any SOP; what is generated is
validated before it is written, which also gives a bad id the language's own explanation.
"""

from __future__ import annotations

import json
import re
from importlib.resources import files
from pathlib import Path

import click

from airflow_sop_provider.sop import check_text
from airflow_sop_provider.sop.scalars import plain_scalar

__all__ = ["new_text", "write_new"]

_PLAIN = re.compile(r"[A-Za-z][A-Za-z0-9 -]*")


def write_new(sop_id: str, shape: str, output: str | None) -> None:
    """Write a new SOP.

    :param shape: name of a template.
    :param output: a path, `-` for stdout, None for `<id>.yaml` in the current folder.
    :raises click.UsageError: when the id is no SOP id.
    :raises click.ClickException: when the file exists.
    """
    text = new_text(sop_id, shape)
    if output == "-":
        click.echo(text, nl=False)
        return
    path = Path(output or f"{sop_id}.yaml")
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError as error:
        raise click.ClickException(
            f"{path} exists and is left as it is. Name another file with --output, or use `--output -`."
        ) from error
    click.echo(f"Wrote {path}. Next: edit it, then `sop validate {path}`.", err=True)


def new_text(sop_id: str, shape: str) -> str:
    """Return a valid SOP document with this id.

    :raises click.UsageError: when the id is no SOP id.
    """
    title = sop_id.replace("-", " ").capitalize()
    header = _template("header").replace("sop: example ", f"sop: {_quoted(sop_id)} ", 1)
    text = header.replace("title: Example", f"title: {_quoted(title)}", 1) + _template(shape)
    problems = check_text(text, f"{sop_id}.yaml").problems
    if problems:
        raise click.UsageError(f"`{sop_id}` cannot be the id of an SOP: {problems[0].message}")
    return text


def _template(name: str) -> str:
    return (files("airflow_sop_provider.cli") / "templates" / f"{name}.yaml").read_text(encoding="utf-8")


def _quoted(text: str) -> str:
    """Write `text` as a YAML scalar, in quotes unless every reader of YAML takes it for text without them."""
    plain = _PLAIN.fullmatch(text) and plain_scalar(text) == text
    return text if plain else json.dumps(text, ensure_ascii=False)
