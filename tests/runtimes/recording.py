"""What a real cluster told of pods, as a file: events of the API in their order, and what our runtime made of them.

One JSON document a line: first what came of each pod, then the events. What the runtime never reads is left out, and
so is what belongs to one machine.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from airflow_sop_provider.engine.failures import classify
from airflow_sop_provider.runtimes import Outcome

__all__ = ["FOLDER", "RECORD", "Recording", "Result", "result_of"]

RECORD = "SOP_RECORD_PODS"
"""Variable that names the folder for recordings of the tests on a cluster."""
FOLDER = Path(__file__).parent / "recordings"

_METADATA = ("name", "uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds", "finalizers")
_OF_ONE_MACHINE = frozenset({"hostIP", "hostIPs", "podIP", "podIPs", "containerID", "imageID", "image"})
_NODE = "node"


@dataclass(frozen=True)
class Result:
    """What the runtime made of a pod: ``type:code`` of the failure, None for a success; whether we had stopped it."""

    failure: str | None
    exit_code: int | None
    stopped: bool


@dataclass
class Recording:
    """Events ``(type, pod)`` of one namespace, and by pod what came of it."""

    results: dict[str, Result] = field(default_factory=dict)
    events: list[tuple[str, dict[str, Any]]] = field(default_factory=list)

    def note(self, kind: str, pod: dict[str, Any]) -> None:
        """Add an event, with what a runtime may read."""
        self.events.append((kind, _reduced(pod)))

    def of(self, names: Iterable[str]) -> Recording:
        """Return the part that tells of these pods."""
        wanted = set(names)
        return Recording(
            {name: result for name, result in self.results.items() if name in wanted},
            [event for event in self.events if event[1]["metadata"]["name"] in wanted],
        )

    def save(self, path: Path) -> None:
        """Write it."""
        results = {name: vars(result) for name, result in self.results.items()}
        lines = [{"results": results}, *({"type": kind, "pod": pod} for kind, pod in self.events)]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(json.dumps(line, sort_keys=True) + "\n" for line in lines))

    @classmethod
    def load(cls, path: Path) -> Recording:
        """Read one."""
        first, *events = (json.loads(line) for line in path.read_text().splitlines())
        results = {name: Result(**result) for name, result in first["results"].items()}
        return cls(results, [(event["type"], event["pod"]) for event in events])


def result_of(outcome: Outcome) -> Result:
    """Return what is compared of an outcome."""
    failure = classify(outcome)
    return Result(None if failure is None else f"{failure.type}:{failure.code}", outcome.exit_code, outcome.stopped)


def _reduced(pod: dict[str, Any]) -> dict[str, Any]:
    spec = pod.get("spec") or {}
    kept = {"containers": [{"name": container["name"]} for container in spec.get("containers") or ()]}
    if spec.get("nodeName"):
        kept["nodeName"] = _NODE
    metadata = {name: value for name, value in pod["metadata"].items() if name in _METADATA}
    return {"metadata": metadata, "spec": kept, "status": _without_machine(pod.get("status") or {}, spec)}


def _without_machine(value: Any, spec: dict[str, Any]) -> Any:
    if isinstance(value, dict):
        return {name: _without_machine(one, spec) for name, one in value.items() if name not in _OF_ONE_MACHINE}
    if isinstance(value, list):
        return [_without_machine(one, spec) for one in value]
    if isinstance(value, str) and spec.get("nodeName"):
        return value.replace(spec["nodeName"], _NODE)
    return value
