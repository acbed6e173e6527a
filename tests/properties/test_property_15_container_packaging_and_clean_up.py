"""Feature: execution-engine, Property 15: Container packaging and clean-up

SOP, runner and dependencies inside; CPU, memory and network limits as required; logs and metrics collected before it
ends. On the real thing: tests/kubernetes/test_runtime.py and test_trouble.py (memory killed, CPU throttled, nothing
left), tests/docker/test_containerfile.py (what the image holds).
"""

from __future__ import annotations

import asyncio
import base64
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_sop_provider.contract import Assignment, Usage, Verdict
from airflow_sop_provider.contract.portable import start_command
from airflow_sop_provider.engine.attempts import RUNNER_MODULE
from airflow_sop_provider.operators.pod_image import COPY_BYTES
from airflow_sop_provider.runtimes.kubernetes import KubernetesRuntime
from tests.executors.test_attempt_on_kubernetes import NAME, Case
from tests.properties.pods import assignments, spec_of, steps_settings
from tests.runtimes.fake_kubernetes import FakeKubernetes

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@settings(max_examples=100, deadline=None)
@given(assignments())
async def test_the_pod_holds_sop_and_runner_and_has_the_limits_of_its_step(assignment: Assignment) -> None:
    """Feature: execution-engine, Property 15: Container packaging and clean-up."""
    site, payload = steps_settings(), assignment.payload
    image = payload.step.get("command", {}).get("image")
    async with FakeKubernetes() as cluster:
        runtime = KubernetesRuntime(cluster.connect, namespace="steps")
        try:
            handle = await runtime.start(spec_of(assignment, site))
        finally:
            await runtime.close()
    pod, secret = cluster.pods[handle.name], cluster.secrets[handle.name]
    (container,) = pod["spec"]["containers"]
    assert Assignment.model_validate_json(base64.b64decode(secret["data"]["assignment.json"])) == assignment
    assert {"name": "SOP_STEP", "value": "/run/sop/assignment.json"} in container["env"]
    if image:
        (copying,) = pod["spec"]["initContainers"]
        assert (copying["image"], container["image"], container["command"]) == (site.image, image, start_command())
    else:
        assert (container["image"], container["command"]) == (site.image, ["python", "-m", RUNNER_MODULE])
    required = {
        "cpu": payload.cpu_millis and f"{payload.cpu_millis}m",
        "memory": payload.memory_bytes and str(payload.memory_bytes),
        "ephemeral-storage": payload.ephemeral_storage_bytes
        and str(payload.ephemeral_storage_bytes + (COPY_BYTES if image else 0)),
        site.gpu_resource: payload.gpus and str(payload.gpus),
    }
    required = {name: value for name, value in required.items() if value}
    resources = container.get("resources") or {}
    assert (resources.get("limits") or {}, resources.get("requests") or {}) == (required, required)
    bandwidth = {k: v for k, v in pod["metadata"]["annotations"].items() if k.endswith("-bandwidth")}
    expected = str(payload.network_bits) if payload.network_bits else None
    assert bandwidth == {f"kubernetes.io/{way}-bandwidth": expected for way in ("ingress", "egress") if expected}


lines = st.lists(st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=20).filter(bool), max_size=6)
usages = st.builds(Usage, cpu_seconds=st.floats(0, 1e6), peak_memory_bytes=st.integers(0, 1 << 40))


@settings(max_examples=100, deadline=None)
@given(lines, usages, st.sampled_from([0, 3, 65, 75]))
async def test_logs_and_usage_are_stored_before_the_pod_is_deleted(said: list[str], usage: Usage, code: int) -> None:
    """Feature: execution-engine, Property 15: Container packaging and clean-up."""
    stored: list[tuple[list[str], list[Usage | None]]] = []
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setenv("AIRFLOW__LOGGING__BASE_LOG_FOLDER", folder)
        async with FakeKubernetes() as cluster:
            runtime = KubernetesRuntime(cluster.connect, namespace="steps")
            case = Case(cluster, runtime, Path(folder) / "attempt.log")

            def at_deletion(verb: str, path: str) -> None:
                if (verb, path) == ("DELETE", f"pods/{NAME}"):
                    stored.append((case.events(), [end.usage for end in case.ledger.ended]))

            cluster.refuse = at_deletion
            cluster.logs[NAME] = [(f"2026-01-01T00:00:00.{n:09}Z", text) for n, text in enumerate(said)]
            carrying = asyncio.create_task(case.carrier.carry())
            await case.pod()
            await cluster.run(NAME)
            await cluster.end(NAME, code, _verdict(code, usage).model_dump_json())
            await carrying
            await case.carrier.clean_up()
            await runtime.close()
            assert (cluster.pods, cluster.secrets) == ({}, {}), "nothing is left"
    ((events, recorded),) = stored
    assert [event for event in events if event in said] == said
    assert recorded == [usage]


def _verdict(code: int, usage: Usage) -> Verdict:
    if code == 0:
        return Verdict(status="succeeded", outputs={"v": 1}, usage=usage)
    error = {"type": {65: "permanent", 75: "transient"}.get(code, "crash"), "code": "c", "message": "m"}
    return Verdict.model_validate({"status": "failed", "error": error, "usage": usage.model_dump()})
