"""`sop import`: the SOP to a file or stdout, the report to who runs it."""

from __future__ import annotations

import json
import sys
from collections import Counter
from pathlib import Path

import click

from airflow_sop_provider.importers.flow import Imported, ImportFailedError
from airflow_sop_provider.importers.reading import import_file
from airflow_sop_provider.sop.problems import printable

__all__ = ["import_procedure"]


def import_procedure(form: str, path: Path, output: Path | None, name: str | None, *, as_json: bool) -> int:
    """Import a procedure of others and report on every step of it.

    :param output: where the SOP goes; nothing is overwritten. None: with the report in JSON, else to stdout.
    :returns: 1 if steps were left out of the SOP, else 0.
    :raises click.ClickException: it cannot become an SOP, or the output exists.
    """
    try:
        imported = import_file(path, form, name)
    except ImportFailedError as error:
        raise click.ClickException(printable(str(error))) from error
    if output is not None:
        try:
            with output.open("x", encoding="utf-8") as file:
                file.write(imported.text)
        except FileExistsError as error:
            raise click.ClickException(
                f"{output} exists and is left as it is. Name another file with --output."
            ) from error
    elif not as_json:
        click.echo(imported.text, nl=False)
    if as_json:
        click.echo(json.dumps(_document(imported, output), indent=2, ensure_ascii=False))
    else:
        _report(imported)
    return 1 if any(entry.outcome == "refused" and not entry.steps for entry in imported.entries) else 0


def _report(imported: Imported) -> None:
    counts = Counter(entry.outcome for entry in imported.entries)
    for entry in imported.entries:
        target = ", ".join(entry.steps) or "no step"
        note = f": {entry.note}" if entry.note else ""
        print(printable(f"{entry.outcome:<12} {entry.source} ({entry.kind}) -> {target}{note}"), file=sys.stderr)  # noqa: T201
    for note in imported.notes:
        print(printable(f"note         {note}"), file=sys.stderr)  # noqa: T201
    words = ", ".join(f"{counts[outcome]} {outcome}" for outcome in ("mapped", "approximated", "refused"))
    print(f"{len(imported.entries)} steps: {words}.", file=sys.stderr)  # noqa: T201


def _document(imported: Imported, output: Path | None) -> dict[str, object]:
    counts = Counter(entry.outcome for entry in imported.entries)
    return {
        "output": None if output is None else str(output),
        "sop": imported.text if output is None else None,
        "mapped": counts["mapped"],
        "approximated": counts["approximated"],
        "refused": counts["refused"],
        "steps": [entry.as_dict() for entry in imported.entries],
        "notes": list(imported.notes),
    }
