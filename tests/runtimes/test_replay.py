"""What a real cluster told of pods, told again: whoever hears it comes to the result that was come to then.

Record anew, with a cluster up (`make cluster`)::

    SOP_RECORD_PODS=tests/runtimes/recordings make test-kubernetes ARGS="-k 'test_runtime or test_trouble'"
"""

from __future__ import annotations

import asyncio
import copy
import random
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_sop_provider.runtimes import Handle
from airflow_sop_provider.runtimes.kube_pod import GONE
from airflow_sop_provider.runtimes.kubernetes import KubernetesRuntime
from tests.runtimes.fake_kubernetes import FakeKubernetes
from tests.runtimes.recording import FOLDER, Recording, Result, result_of

RECORDINGS = sorted(FOLDER.glob("*.jsonl"))
_SETTLE = 20


def test_there_are_recordings() -> None:
    assert len(RECORDINGS) >= 20, "record the tests on a cluster: see this file's first lines"


@pytest.mark.parametrize("path", RECORDINGS, ids=lambda path: path.stem)
async def test_a_recording_comes_to_its_result_again(path: Path) -> None:
    recording = Recording.load(path)
    assert await Replay(recording).results() == recording.results


@given(data=st.data())
def test_so_it_does_however_the_events_come(data: st.DataObject) -> None:
    """Several at once, some events twice, and with a watch that began late."""
    chosen = data.draw(st.lists(st.sampled_from(RECORDINGS), min_size=1, max_size=3, unique=True))
    chance = random.Random(data.draw(st.integers(0, 2**32)))
    streams = [Recording.load(path) for path in chosen]
    late = data.draw(st.booleans())
    results: dict[str, Result] = {}
    queues = []
    for stream in streams:
        results |= stream.results
        queue = stream.events[chance.randint(0, before_the_end(stream)) :] if late else list(stream.events)
        queues.append([event for event in queue for _ in range(chance.choice([1, 1, 2]))])
    events = []
    while any(queues):
        events.append(chance.choice([queue for queue in queues if queue]).pop(0))
    assert asyncio.run(Replay(Recording(results, events)).results()) == results


def before_the_end(recording: Recording) -> int:
    """Return how many events may be missed: of no pod anything but that it was created, scheduled, and that it ran."""
    for number, (_, pod) in enumerate(recording.events):
        status, metadata = pod["status"], pod["metadata"]
        states = [one.get("state", {}) for one in status.get("containerStatuses", [])]
        waits = {state["waiting"].get("reason") for state in states if "waiting" in state}
        ended = any("terminated" in state for state in states)
        going_on = status.get("phase") in ("Pending", "Running") and "deletionTimestamp" not in metadata
        if ended or not going_on or waits - {"ContainerCreating", "PodInitializing"}:
            return max(number - 1, 0)
    return 0


class Replay:
    """A server that tells of pods what was recorded, and the runtime that listens to it."""

    def __init__(self, recording: Recording) -> None:
        self._recording = recording
        self._waits: dict[str, asyncio.Task[Any]] = {}

    async def results(self) -> dict[str, Result]:
        """Tell everything; return what the runtime made of each pod."""
        async with FakeKubernetes() as server:
            runtime = KubernetesRuntime(server.connect, namespace="test")
            try:
                assert await runtime.find() == []  # the watch is there
                for kind, pod in copy.deepcopy(self._recording.events):
                    await self._tell(server, runtime, kind, pod)
                async with asyncio.timeout(60):
                    return {name: result_of(await wait) for name, wait in self._waits.items()}
            finally:
                await runtime.close()

    async def _tell(self, server: FakeKubernetes, runtime: KubernetesRuntime, kind: str, pod: dict[str, Any]) -> None:
        name = pod["metadata"]["name"]
        # who looks at it now must not take it for one that has waited for a place since it was recorded
        pod["metadata"]["creationTimestamp"] = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"
        if kind == "DELETED":
            server.pods.pop(name, None)
        else:
            server.pods[name] = pod
        await server._tell(kind, pod)
        seen = pod["metadata"]["resourceVersion"]
        if name not in self._waits:
            if self._recording.results[name].stopped:
                runtime._stopped.add(name)
            handle = Handle(name=name, uid=pod["metadata"]["uid"], state="created", adopted=True, labels={})
            self._waits[name] = asyncio.create_task(runtime.wait(handle))
        # the next thing happens when this one has been heard and thought about
        while not self._waits[name].done():
            known = runtime._watch.get(name)
            if known is not None and (known["metadata"]["resourceVersion"] == seen or known["metadata"].get(GONE)):
                break
            await asyncio.sleep(0.001)
        for _ in range(_SETTLE):
            await asyncio.sleep(0)
