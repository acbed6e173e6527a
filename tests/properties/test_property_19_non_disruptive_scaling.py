"""Feature: execution-engine, Property 19: Non-disruptive scaling

Scaling up or down interrupts nothing that runs: an executor that comes starts nothing twice, one that goes ends
nothing, and what it has followed is followed on by another. On the real thing: tests/kubernetes/test_airflow.py (a
scheduler is killed while pods run) and test_chart.py (an upgrade while steps run, and an eviction
of one, as by a node that is emptied, which is refused).
"""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_sop_provider.contract import Verdict
from airflow_sop_provider.engine.failures import classify
from airflow_sop_provider.executors.messages import AttemptMessage
from airflow_sop_provider.executors.sop_executor import SopExecutor
from airflow_sop_provider.runtimes import Outcome
from airflow_sop_provider.runtimes.kubernetes import KubernetesRuntime
from tests.executors.attempts import RecordingLink, workload
from tests.runtimes.fake_kubernetes import FakeKubernetes
from tests.runtimes.test_kubernetes import attempt

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

SUCCEEDED = Verdict(status="succeeded").model_dump_json()
doings = st.lists(st.tuples(st.sampled_from(["up", "down", "start", "start", "end"]), st.integers(0, 99)), max_size=12)


class Site:
    """Executors' runtimes that come and go above one cluster; whoever is there carries what nobody else does."""

    def __init__(self, cluster: FakeKubernetes) -> None:
        self.cluster = cluster
        self.up: list[KubernetesRuntime] = []
        self.carried: dict[KubernetesRuntime, dict[str, asyncio.Task[Outcome]]] = {}
        self.begun = 0
        self.running: list[str] = []
        self.outcomes: list[Outcome] = []

    async def scale_up(self) -> None:
        runtime = KubernetesRuntime(self.cluster.connect, namespace="steps")
        self.up.append(runtime)
        self.carried[runtime] = {}

    async def scale_down(self) -> None:
        if len(self.up) == 1:
            await self.scale_up()  # as after a restart: the last one goes when another is there
        going = self.up.pop(0)
        left = self.carried.pop(going)
        for task in left.values():
            task.cancel()
        await asyncio.gather(*left.values(), return_exceptions=True)
        await going.close()
        for name in left:
            await self._carry(self.up[-1], name)

    async def start(self) -> None:
        name = f"sop-{self.begun}"
        self.begun += 1
        await self._carry(self.up[self.begun % len(self.up)], name)
        await self.cluster.run(name)
        self.running.append(name)

    async def end(self, name: str) -> None:
        self.running.remove(name)
        await self.cluster.end(name, 0, SUCCEEDED)
        (tasks,) = [tasks for tasks in self.carried.values() if name in tasks]
        self.outcomes.append(await tasks.pop(name))

    async def _carry(self, runtime: KubernetesRuntime, name: str) -> None:
        handle = await runtime.start(attempt(name))
        self.carried[runtime][name] = asyncio.create_task(runtime.wait(handle))


@settings(max_examples=100, deadline=None)
@given(doings)
async def test_executors_that_come_and_go_interrupt_no_pod(drawn: list[tuple[str, int]]) -> None:
    """Feature: execution-engine, Property 19: Non-disruptive scaling."""
    async with FakeKubernetes() as cluster:
        site = Site(cluster)
        await site.scale_up()
        for doing, number in drawn:
            match doing:
                case "up":
                    await site.scale_up()
                case "down":
                    await site.scale_down()
                case "start":
                    await site.start()
                case "end" if site.running:
                    await site.end(site.running[number % len(site.running)])
        while site.running:
            await site.end(site.running[0])
        for runtime in site.up:
            await runtime.close()
        assert [classify(outcome) for outcome in site.outcomes] == [None] * site.begun
        assert sum(verb == "DELETE" for verb, _, _ in cluster.seen) == 0
        assert len(cluster.pods) == site.begun, "each ran once"


@given(st.lists(st.sampled_from([1, 2, 5, 20]), min_size=1, max_size=8), st.integers(1, 20))
def test_room_that_grows_or_shrinks_revokes_nothing(sizes: list[int], count: int) -> None:
    """Feature: execution-engine, Property 19: Non-disruptive scaling."""
    executor, link = SopExecutor(parallelism=sizes[0]), RecordingLink()
    executor._link = link
    for number in range(count):
        executor.queue_workload(workload(f"s{number}"), session=None)
    for size in sizes:
        before = set(executor.running)
        executor.parallelism = size
        executor.heartbeat()
        assert before <= executor.running, "who runs goes on, also above what is allowed now"
        assert len(executor.running) == max(len(before), min(size, count))
    assert all(isinstance(message, AttemptMessage) for message in link.sent), "none was stopped"
    executor.end()
    assert len(link.sent) == len({message.key.task_instance_id for message in link.sent}) == len(executor.running)
