"""`sop explain`: what an SOP will do, for whoever has to answer for it.

The text is made of the facts that `--json` prints and of nothing else, so both say the same.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import click

from airflow_sop_provider.cli.console import read_sop
from airflow_sop_provider.cli.facts import Facts, StepFacts, facts_of
from airflow_sop_provider.cli.words import listed
from airflow_sop_provider.sop.durations import format_duration

__all__ = ["as_text", "explain_file"]


def explain_file(file: Path, *, as_json: bool) -> None:
    """Print the facts of the SOP in `file` as JSON or as text.

    :raises SopFileError: when the SOP is not valid.
    """
    facts = facts_of(read_sop(file))
    click.echo(json.dumps(facts, indent=2, ensure_ascii=False) if as_json else as_text(facts))


def as_text(facts: Facts) -> str:
    """Return the facts as text of a screen or two."""
    sections = [
        ("", _identity(facts)),
        ("Mode", _mode(facts)),
        ("Inputs", _inputs(facts)),
        ("Steps", _steps(facts)),
        ("Rollback, if the execution fails", _rollback(facts)),
        ("It may touch", _touches(facts)),
        ("Resources", _resources(facts)),
        ("Schedule", _schedule(facts)),
        ("Escalation", iter(facts["escalation"])),
    ]
    return "\n\n".join(text for name, lines in sections if (text := _section(name, lines)))


def _section(name: str, lines: Iterator[str]) -> str:
    if not name:
        return "\n".join(lines)
    body = "\n".join(f"  {line}" for line in lines)
    return f"{name}\n{body}" if body else ""


def _identity(facts: Facts) -> Iterator[str]:
    yield f"{facts['sop']} {facts['version']}: {facts['title']}"
    if facts["control"]:
        group = f" ({facts['control_type']})" if facts["control_type"] else ""
        yield f"Evidences control {facts['control']}{group}."
    yield f"Owner {facts['owner'] or 'unnamed'}, priority {facts['priority']}{_expected(facts)}."
    yield f"Document sha256 {facts['sha256']}"


def _expected(facts: Facts) -> str:
    seconds = facts["expected_duration_seconds"]
    return f", usually takes {_duration(seconds)}" if seconds is not None else ""


def _mode(facts: Facts) -> Iterator[str]:
    mode = facts["mode"]
    yield f"{mode['chosen']} (the file says {mode['asked']}): {mode['reason']}"
    if mode["chosen"] == "system_design" and mode["against_agent_centric"]:
        yield "agent_centric is not possible:"
        yield from (f"  - {reason}" for reason in mode["against_agent_centric"])


def _inputs(facts: Facts) -> Iterator[str]:
    for name, schema, required in ((i["name"], i["schema"], i["required"]) for i in facts["inputs"]):
        kind = schema.get("type", "any")
        default = "required" if required else f"default {_shortened(json.dumps(schema['default'], ensure_ascii=False))}"
        yield f"{name} ({kind if isinstance(kind, str) else json.dumps(kind)}, {default})"


def _steps(facts: Facts) -> Iterator[str]:
    for number, step in enumerate(facts["steps"], 1):
        yield f"{number}. {step['id']}{': ' + step['title'] if step['title'] else ''}"
        yield f"   {step['does']}{_limits(step)}"
        yield f"   runs {step['runs']}"


def _limits(step: StepFacts) -> str:
    return f", at most {_duration(step['timeout_seconds'])} an attempt" if step["timeout_seconds"] is not None else ""


def _rollback(facts: Facts) -> Iterator[str]:
    for undo in facts["rollback"]:
        yield f"{undo['id']} undoes {undo['after']}: {undo['does']}"


def _touches(facts: Facts) -> Iterator[str]:
    touches = facts["touches"]
    for source in touches["data_sources"]:
        yield f"data source {source['name']}, server {source['server']} of the fleet:"
        for tool, steps in source["called_by"].items():
            yield f"  {tool}, called by {listed(steps) if steps else 'no step'}"
    for step, image in touches["commands"].items():
        yield f"command of {step}, image {image}"
    for approval in touches["approvals"]:
        barred = f", but not the {approval['not_by']}" if approval["not_by"] else ""
        yield f"approval of {approval['step']} by {approval['quorum']} of {listed(approval['by'], 'or')}{barred}"
    if touches["agents"]:
        yield f"agent in {listed(touches['agents'])}, model {touches['model'] or 'of the deployment'}"
    if not any((touches["data_sources"], touches["commands"], touches["approvals"], touches["agents"])):
        yield "nothing outside its own inputs"


def _resources(facts: Facts) -> Iterator[str]:
    for step, resources in facts["resources"].items():
        yield f"{'every step' if step == '*' else step}: " + ", ".join(f"{k} {v}" for k, v in resources.items())


def _schedule(facts: Facts) -> Iterator[str]:
    schedule = facts["schedule"]
    if schedule is None:
        yield "none: started by hand or over REST"
        return
    window = schedule["window_seconds"]
    late = f", started at most {_duration(window)} late" if window is not None else ""
    missed = "made up for" if schedule["catchup"] else "not made up for"
    yield f"{schedule['cron']} in {schedule['timezone']}{late}; missed executions are {missed}"


def _duration(seconds: float | None) -> str:
    return format_duration(timedelta(seconds=seconds or 0))


def _shortened(text: str, length: int = 60) -> str:
    return text if len(text) <= length else text[: length - 1] + "…"
