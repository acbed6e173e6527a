"""What an agent's start costs: its process to the first action and to the first question, CPU and memory; the images.

Attempts on the local runtime, one after the other, without Airflow. The model is scripted and answers at once, so what
is measured is the runner's own: importing ADK, the MCP client, building the agent, the turns.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from airflow_sop_provider.contract import Assignment, AttemptKey, StepPayload
from airflow_sop_provider.engine.assignments import build_assignment
from airflow_sop_provider.engine.attempts import attempt_spec
from airflow_sop_provider.engine.payloads import sop_payload
from airflow_sop_provider.runtimes.local import LocalRuntime
from airflow_sop_provider.sop import load_sop
from benchmarks.bench import Bench, BenchmarkError
from benchmarks.report import Table, p50
from tools.cluster.layout import Layout
from tools.dev.environment import ROOT

__all__ = ["measure"]

_STEPS: Mapping[str, Mapping[str, Any]] = {
    "floor: compute": {"compute": {"value": "1 + 1"}},
    "agent": {"agent": {"instruction": "Say hello."}},
    "decision that asks": {"decision": {"question": "Is it?", "options": {"yes": "it is", "no": "it is not"}}},
}
_WHOLE = "whole SOP: package-brief"
_IMAGES = {"runner": "airflow-sop-runner.tar", "runner, agents": "airflow-sop-runner-agents.tar"}
_MEGA = 1e6


class _Settings:
    fleet_file = ROOT / "fleet.yaml"


@dataclass
class _Seen:
    """One entry per attempt: seconds, and bytes of memory."""

    action: list[float] = field(default_factory=list)
    question: list[float] = field(default_factory=list)
    whole: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    memory: list[float] = field(default_factory=list)


def measure(bench: Bench) -> list[Table]:
    """Measure every kind, in turns."""
    count = bench.number(full=10, quick=1)
    seen = {label: _Seen() for label in (*_STEPS, _WHOLE)}
    asyncio.run(_attempts(bench, seen, count))
    return [_table(seen, count), _images()]


async def _attempts(bench: Bench, seen: Mapping[str, _Seen], count: int) -> None:
    runtime = LocalRuntime(bench.folder("agents"))
    try:
        for turn in range(-1, count):  # the first turn warms the file system's cache
            bench.say(f"agents: {max(turn + 1, 0)} of {count}")
            for label in seen:
                await _attempt(runtime, label, turn, seen[label] if turn >= 0 else _Seen())
    finally:
        await runtime.close()


async def _attempt(runtime: LocalRuntime, label: str, turn: int, seen: _Seen) -> None:
    began = time.perf_counter()
    handle = await runtime.start(attempt_spec(_assignment(label, turn), _Settings()))
    outcome = await runtime.wait(handle)
    seen.whole.append(time.perf_counter() - began)
    folder = runtime.folder(handle.name)
    if outcome.exit_code != 0 or outcome.usage is None:
        output = (folder / "output.log").read_text(errors="replace")
        raise BenchmarkError(f"{label} ended with {outcome.exit_code}:\n{output[-2000:]}")
    verdict = json.loads((folder / "verdict.json").read_text())
    seen.action.append(float(verdict["first_action_seconds"]))
    seen.cpu.append(outcome.usage.cpu_seconds or 0.0)
    seen.memory.append(outcome.usage.peak_memory_bytes or 0)
    asked = [event["time"] for event in outcome.recorded if event["event"] == "agent.model_call"]
    if asked:
        passed = datetime.fromisoformat(asked[0]) - datetime.fromisoformat(verdict["started_at"])
        seen.question.append(passed.total_seconds())
    await runtime.remove(handle)


def _assignment(label: str, turn: int) -> Assignment:
    key = AttemptKey(sop="bench", run_id=f"run-{turn}", step="x", attempt=1, task_instance_id=f"{label}-{turn}")
    if label == _WHOLE:
        payload = sop_payload(load_sop(ROOT / "sops" / "package-brief.yaml"))
        key = key.model_copy(update={"sop": "package-brief", "step": "agent"})
        return build_assignment(key, payload, {}, {}, execution={"id": f"package-brief/{turn}"})
    payload = StepPayload(
        kind="step", sop="bench", version="1.0.0", digest="0" * 64, step={"id": "x", **_STEPS[label]},
        agent={"model": "scripted:package-brief"},
    )  # fmt: skip
    key = key.model_copy(update={"step": label.replace(" ", "-").replace(":", "")})
    return Assignment(key=key, payload=payload)


def _table(seen: Mapping[str, _Seen], count: int) -> Table:
    rows = [
        (
            label, p50(one.action), p50(one.question), p50(one.whole), p50(one.cpu),
            (p50(one.memory) or 0.0) / _MEGA,
        )
        for label, one in seen.items()
    ]  # fmt: skip
    return Table(
        name="agents",
        title="An agent's process on the local runtime, p50",
        columns=("kind", "first action, s", "first answer, s", "whole attempt, s", "CPU, s", "peak memory, MB"),
        rows=rows,
        notes=(
            f"{count} attempts of each kind in turns, one at a time, without Airflow; the model is scripted",
            "first answer: from the runner's start to the end of the model's first turn, ADK's import included",
            "the whole SOP starts an MCP server, makes three calls of it and takes five turns",
        ),
    )


def _images() -> Table:
    """Return the sizes of the images that `make image` has built; None for one that is not there."""
    folder = Layout.default().cache / "images"
    sizes = {extras: folder / name for extras, name in _IMAGES.items()}
    rows = [(extras, path.stat().st_size / _MEGA if path.exists() else None) for extras, path in sizes.items()]
    return Table(
        name="images",
        title="The runner's images, MB",
        columns=("extras", "uncompressed"),
        rows=rows,
        notes=("as `make image` built them last, Debian's layer of 141 MB included; empty: it was not run here",),
    )
