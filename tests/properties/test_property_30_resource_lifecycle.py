"""Feature: execution-engine, Property 30: Resource lifecycle

Bin-packed when scheduled, released at once when done. A pod asks for what its step was given and no more, so that what
is placed by requests is packed by limits, too; it names the scheduler that the site packs with; and with its end,
whatever that is, pod and Secret are gone while all others stay. On the real thing: tests/kubernetes/test_packing.py
(as few nodes as hold them) and test_sharing.py (what a step had is given to the next one).
"""

from __future__ import annotations

import asyncio
import json
import tempfile
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_sop_provider.contract import Assignment, Verdict, container_name
from airflow_sop_provider.engine.pools import SLOT_MILLIS, slots_of
from airflow_sop_provider.runtimes.kubernetes import KubernetesRuntime
from tests.executors.test_attempt_on_kubernetes import KEY, Case
from tests.properties.pods import assignments, spec_of, steps_settings
from tests.runtimes.fake_kubernetes import FakeKubernetes
from tests.runtimes.helpers import until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@settings(max_examples=100, deadline=None)
@given(assignments(), st.none() | st.sampled_from(["sop-bin-packing", "own"]))
def test_a_pod_is_placed_by_what_its_step_may_use(assignment: Assignment, scheduler: str | None) -> None:
    """Feature: execution-engine, Property 30: Resource lifecycle."""
    with tempfile.TemporaryDirectory() as folder:
        template = Path(folder) / "pod.yaml"
        spec: dict[str, Any] = {"containers": [{"name": "base"}]}
        spec |= {"schedulerName": scheduler} if scheduler else {}
        template.write_text(json.dumps({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x"}, "spec": spec}))
        pod = dict(spec_of(assignment, replace(steps_settings(), pod_template_file=str(template))).pod or {})
    assert pod["spec"].get("schedulerName") == scheduler
    for container in (*pod["spec"]["containers"], *pod["spec"].get("initContainers", ())):
        resources = container.get("resources") or {}
        assert resources.get("requests") == resources.get("limits")


@given(st.lists(st.integers(1, 16_000), min_size=1, max_size=20))
def test_a_pool_is_filled_by_processor_time_and_never_over_it(millis: list[int]) -> None:
    """Feature: execution-engine, Property 30: Resource lifecycle."""
    slots = sum(slots_of(one) for one in millis)
    cores, used = Fraction(slots * SLOT_MILLIS, 1000), Fraction(sum(millis), 1000)
    assert used <= cores < used + Fraction(len(millis) * SLOT_MILLIS, 1000)


ends = st.lists(st.sampled_from([0, 0, 3, 65, 75]), min_size=1, max_size=3).flatmap(
    lambda codes: st.permutations(list(enumerate(codes)))
)
"""Number of an attempt and its exit code, in the order of their ends."""


@settings(max_examples=100, deadline=None)
@given(ends)
async def test_what_is_done_is_released_at_once_and_the_rest_stays(order: list[tuple[int, int]]) -> None:
    """Feature: execution-engine, Property 30: Resource lifecycle."""
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setenv("AIRFLOW__LOGGING__BASE_LOG_FOLDER", folder)
        async with FakeKubernetes() as cluster:
            runtime = KubernetesRuntime(cluster.connect, namespace="steps")
            case = Case(cluster, runtime, Path(folder) / "attempt.log")
            keys = [KEY.model_copy(update={"step": f"a{n}", "task_instance_id": f"t{n}"}) for n in range(len(order))]
            carried = {container_name(key): case.carrier_of(key) for key in keys}
            carrying = {name: asyncio.create_task(carrier.carry()) for name, carrier in carried.items()}
            await until(lambda: set(cluster.pods) == set(carried))
            for name in carried:
                await cluster.run(name)
            for number, code in order:
                name = container_name(keys[number])
                verdict = Verdict(status="succeeded", outputs={}).model_dump_json() if code == 0 else ""
                await cluster.end(name, code, verdict)
                await carrying.pop(name)
                await carried[name].clean_up()
                assert set(cluster.pods) == set(cluster.secrets) == set(carrying)
            await runtime.close()
