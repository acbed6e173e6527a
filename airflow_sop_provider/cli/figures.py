"""`sop metrics`: the figures of a window of time as tables."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

import click

from airflow_sop_provider.cli.connection import engine
from airflow_sop_provider.cli.tables import bytes_in_words, moment, print_table, seconds_in_words

__all__ = ["percent", "show_metrics"]

_FIGURES = ("mean", "p95", "p99")


def show_metrics(url: str, since: datetime | None, until: datetime | None, *, as_json: bool) -> int:
    """Print the figures of executions that the caller may see."""
    with engine(url) as client:
        found = client.metrics(since, until)
    if as_json:
        click.echo(json.dumps(found))
        return 0
    click.echo(f"{moment(found['since'])} to {moment(found['until'])} UTC")
    _summary(found)
    everything = {**found["durations"], "success_rate": found["success_rate"]}
    everything["ended"] = sum(one["ended"] for one in found["by_mode"].values())
    durations = [("all", everything)]
    durations += [(f"mode {name}", one) for name, one in sorted(found["by_mode"].items())]
    durations += [(f"control {name or 'none'}", one) for name, one in sorted(found["by_control"].items())]
    click.echo()
    print_table(
        ["duration of", ">ended", ">mean", ">p95", ">p99"],
        [
            (name, one["count"], *(seconds_in_words(one[key]) for key in ("mean", "p95", "p99")))
            for name, one in durations
        ],
    )
    if found["errors"]:
        click.echo()
        rates = found["error_rate"]
        kinds = [(kind, count, f"{rates[kind]:.1%}") for kind, count in sorted(found["errors"].items())]
        print_table(["attempts that failed with", ">number", ">of all"], kinds)
    return 0


def percent(share: float | None) -> str | None:
    """`12.5%`."""
    return None if share is None else f"{share:.1%}"


def _summary(found: dict[str, Any]) -> None:
    counts = {name: number for name, number in found["counts"].items() if number or name == "total"}
    rate = found["success_rate"]
    click.echo()
    print_table(
        ["executions", ">number"],
        [*((name.upper() if name != "total" else name, number) for name, number in counts.items())],
    )
    click.echo()
    rows = [
        ("success rate", percent(rate)),
        ("waiting now", found["queue_depth"]),
        ("attempts that ended", found["attempts"]),
        ("CPU time", seconds_in_words(found["cpu_seconds"])),
        ("peak memory of an attempt", bytes_in_words(found["peak_memory_bytes"])),
        (
            "received, sent",
            f"{bytes_in_words(found['network_received_bytes'])}, {bytes_in_words(found['network_sent_bytes'])}",
        ),
    ]
    print_table(["figure", ">value"], rows)
