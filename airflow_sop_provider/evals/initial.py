"""A commented suite to start from, made for one SOP: its inputs, decisions and tools are there to be filled in."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from airflow_sop_provider.sop import LoadedSop

__all__ = ["initial_suite"]

_EXAMPLES: dict[str, Any] = {
    "string": "text", "integer": 1, "number": 1.5, "boolean": True, "array": [], "object": {}, "null": None,
}  # fmt: skip


def initial_suite(loaded: LoadedSop, folder: Path) -> str:
    """Return the text of a suite that lies in `folder`."""
    sop = loaded.sop
    path = os.path.relpath(loaded.path.absolute(), folder.absolute())
    lines = [
        f"# Cases of {sop.sop} and what is expected of them. Run it with `sop eval`; docs/evaluation.md is the whole",
        "# format. Paths are relative to this file.",
        f"suite: {f'{sop.sop}-cases'[:63].rstrip('-')}",
        f"sop: {json.dumps(path, ensure_ascii=False)}",
        "",
        "# A larger table goes into a file, .jsonl or .csv:",
        "# cases_file: cases.jsonl",
        "cases:",
        "  - id: first",
        "    inputs:",
        *(f"      {name}: {json.dumps(_example(schema))}" for name, schema in sop.inputs.items()),
        *([] if sop.inputs else ["      {}"]),
        "    expect:",
        "      status: COMPLETED        # or FAILED, PARTIALLY_COMPLETED",
        "      # JSON paths into the steps' outputs: a value, or one of {near: 1.5, tolerance: 0.1}, {matches: regex},",
        "      # {set: []}, {contains: []}, {one_of: []}, {absent: true}, {equals: {}}",
        "      # outputs:",
        *(f"      #   {step}.name: value" for step in loaded.graph.ends),
        *_decisions(loaded),
        "      # What may be called, and nothing else:",
        f"      # tools: [{', '.join(_tools(loaded))}]",
        "",
        "# What tools answered once, answered again without their servers; without `arguments` to any call:",
        "# recorded:",
        *(f"#   - {{tool: {tool}, arguments: {{}}, result: {{}}}}" for tool in _tools(loaded)),
        "# Calls that nothing is recorded for go to the servers of a fleet:",
        "# fleet: fleet.yaml",
        "",
        "# Least shares, 0 to 1, for exit code 0:",
        "thresholds: {task_success: 1.0}",
        "",
    ]
    return "\n".join(lines)


def _decisions(loaded: LoadedSop) -> list[str]:
    decisions = {step.id: step.decision for step in loaded.sop.steps if step.decision is not None}
    if not decisions:
        return []
    named = [f"      #   {name}: {json.dumps(next(iter(one.options)), ensure_ascii=False)}   # options: "
             + json.dumps(list(one.options), ensure_ascii=False) for name, one in decisions.items()]  # fmt: skip
    return ["      # decisions:", *named]


def _tools(loaded: LoadedSop) -> list[str]:
    return sorted({step.tool for step in loaded.sop.steps if step.tool is not None})


def _example(schema: dict[str, Any]) -> Any:
    if "default" in schema:
        return schema["default"]
    if schema.get("enum"):
        return schema["enum"][0]
    kind = schema.get("type", "string")
    return _EXAMPLES.get(kind[0] if isinstance(kind, list) else kind)
