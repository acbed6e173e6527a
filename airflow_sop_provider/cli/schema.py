"""`sop schema`: the JSON Schema of an SOP file, generated from the models that validate it."""

from __future__ import annotations

import json

import click

from airflow_sop_provider.sop import json_schema

__all__ = ["print_schema"]


def print_schema() -> None:
    """Print the JSON Schema (draft 2020-12) of an SOP file."""
    click.echo(json.dumps(json_schema(), indent=2, ensure_ascii=False))
