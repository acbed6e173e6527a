"""Attempts that become pods, for the properties of containers."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from hypothesis import strategies as st

from airflow_sop_provider.airflow_settings import SopSettings, read_settings
from airflow_sop_provider.contract import Assignment, AttemptKey, StepPayload
from airflow_sop_provider.engine.attempts import attempt_spec
from airflow_sop_provider.operators.pod_attempt import pod_manifest
from airflow_sop_provider.runtimes import AttemptSpec

__all__ = ["assignments", "spec_of", "steps_settings"]

_STEPS: tuple[dict[str, Any], ...] = (
    {"id": "a", "compute": {"v": "1"}},
    {"id": "a", "command": {"command": ["true"]}},
    {"id": "a", "command": {"image": "tool:1", "command": ["run"]}},
    {"id": "a", "agent": {"instruction": "Look."}},
)


def _maybe(values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.none() | values


@st.composite
def assignments(draw: st.DrawFn) -> Assignment:
    """One attempt of a step of any kind, with any requirements."""
    key = AttemptKey(
        sop=draw(st.sampled_from(["s", "vendor-bank-change", "s" * 63])),
        run_id=draw(st.sampled_from(["manual__2026-01-01T00:00:00+00:00", "r", "R"])),
        step=draw(st.sampled_from(["a", "freeze"])),
        map_index=draw(st.integers(-1, 3)),
        attempt=draw(st.integers(1, 4)),
        task_instance_id=f"t{draw(st.integers(0, 10**9))}",
    )
    payload = StepPayload(
        kind="step", sop=key.sop, version="1", digest="d", step=draw(st.sampled_from(_STEPS)),
        cpu_millis=draw(_maybe(st.integers(1, 16_000))),
        memory_bytes=draw(_maybe(st.integers(1 << 24, 1 << 36))),
        ephemeral_storage_bytes=draw(_maybe(st.integers(1 << 20, 1 << 36))),
        gpus=draw(_maybe(st.integers(1, 8))),
        network_bits=draw(_maybe(st.integers(1_000, 10**10))),
        timeout_seconds=draw(_maybe(st.integers(1, 86_400).map(float))),
    )  # fmt: skip
    inputs = draw(st.dictionaries(st.sampled_from(["x", "y"]), st.integers() | st.text(max_size=9)))
    return Assignment(key=key, payload=payload, inputs=inputs)


def steps_settings(engine: bool = False) -> SopSettings:
    """Return the engine's settings with a namespace of the steps' own."""
    url = "http://engine.example/sop" if engine else None
    return replace(read_settings(), namespace="steps", image="runner:1", engine_url=url)


def spec_of(assignment: Assignment, settings: SopSettings) -> AttemptSpec:
    """Return the attempt as the executor makes it on Kubernetes."""
    return replace(attempt_spec(assignment, settings), pod=pod_manifest(assignment, settings))
