"""What the sweep finds of what crashes left, on every runtime, and what it leaves alone.

Task instances are a table (tests/integration has the real one), cluster and engine behave like real ones.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import NAMESPACE_OID, uuid5

import pytest

from airflow_sop_provider.airflow_settings import read_settings
from airflow_sop_provider.contract import Verdict
from airflow_sop_provider.executors import sweep
from airflow_sop_provider.executors.attempt_carrier import Services
from airflow_sop_provider.executors.sweep import Sweep
from airflow_sop_provider.runtimes import AttemptSpec, Handle, LocalRuntime, Runtime
from airflow_sop_provider.runtimes.docker import DockerRuntime, connect_to_engine
from airflow_sop_provider.runtimes.docker_container import config_of
from airflow_sop_provider.runtimes.kubernetes import KubernetesRuntime
from airflow_sop_provider.runtimes.local_files import AttemptFolder
from tests.runtimes.fake_engine import IMAGE, FakeEngine
from tests.runtimes.fake_kubernetes import FakeKubernetes
from tests.runtimes.helpers import program, until

pytestmark = pytest.mark.timeout(300)

HOUR = 3600.0
POD = {"spec": {"containers": [{"name": "base", "image": "runner:1"}]}}
SUCCEEDED = Verdict(status="succeeded").model_dump_json()


class TaskInstances:
    """Stands for the metadata database: id -> state; what is not in it is gone."""

    def __init__(self) -> None:
        self.known: dict[str, str] = {}

    async def states(self, ids: Collection[str]) -> dict[str, str]:
        return {key: self.known[key] for key in ids if key in self.known}


def task_instance(name: str) -> str:
    return str(uuid5(NAMESPACE_OID, name))


def spec_of(name: str) -> AttemptSpec:
    labels = {"task_instance": task_instance(name)}
    return AttemptSpec(name=name, argv=("python",), files={"assignment.json": b"{}"}, labels=labels, pod=POD)


@pytest.fixture
def instances() -> TaskInstances:
    return TaskInstances()


@pytest.fixture
def sweep_of(instances: TaskInstances) -> Any:
    def make(runtime: Runtime, *, keep: float = 0.0, carried: tuple[str, ...] = ()) -> Sweep:
        settings = replace(read_settings(), keep_failed_seconds=keep)
        services = Services(
            ledger=None,  # type: ignore[arg-type]
            database=instances,  # type: ignore[arg-type]
            runtime=runtime,
            settings=settings,
            token=lambda key, seconds: "token",
        )
        carriers: dict[str, Any] = {task_instance(name): None for name in carried}
        return Sweep(services, carriers)

    return make


# -- Kubernetes ---------------------------------------------------------------------------------------


@pytest.fixture
async def cluster() -> AsyncIterator[FakeKubernetes]:
    async with FakeKubernetes() as cluster:
        yield cluster


@pytest.fixture
async def pods(cluster: FakeKubernetes) -> AsyncIterator[KubernetesRuntime]:
    runtime = KubernetesRuntime(cluster.connect, namespace="steps")
    yield runtime
    await runtime.close()


@pytest.fixture
async def child(cluster: FakeKubernetes) -> AsyncIterator[KubernetesRuntime]:
    """The runtime of a child that has started nothing: the next one, or another scheduler's."""
    runtime = KubernetesRuntime(cluster.connect, namespace="steps")
    yield runtime
    await runtime.close()


async def ended(cluster: FakeKubernetes, name: str, code: int, message: str = "", *, age: float = 60.0) -> None:
    await cluster.end(name, code, message)
    (status,) = cluster.pods[name]["status"]["containerStatuses"]
    at = datetime.now(UTC) - timedelta(seconds=age)
    status["state"]["terminated"]["finishedAt"] = f"{at:%Y-%m-%dT%H:%M:%SZ}"
    await cluster.status(name)


async def test_what_nobody_needs_goes_and_what_somebody_needs_stays(cluster, pods, child, sweep_of, instances) -> None:
    for name in ("pending", "over", "without-secret", "secret-only", "live", "queued", "ours"):
        await pods.start(spec_of(name))
    await ended(cluster, "over", 3)
    del cluster.secrets["without-secret"]
    await cluster.vanish("secret-only")
    instances.known = {
        task_instance("over"): "failed",
        task_instance("live"): "running",
        task_instance("queued"): "queued",
    }
    await sweep_of(child, carried=("ours",)).run()
    assert set(cluster.pods) == {"live", "queued", "ours"}
    assert set(cluster.secrets) == {"live", "queued", "ours"}


async def test_one_that_runs_is_stopped_first(cluster, pods, child, sweep_of) -> None:
    await pods.start(spec_of("a"))
    await cluster.run("a")
    sweeping = asyncio.create_task(sweep_of(child).run())
    await until(lambda: "deletionTimestamp" in cluster.pods["a"]["metadata"])
    assert not sweeping.done()
    await cluster.end("a", 143)
    await sweeping
    assert (cluster.pods, cluster.secrets) == ({}, {})


async def test_what_failed_is_kept_for_its_time_by_whichever_child(cluster, pods, child, sweep_of, instances) -> None:
    for name in ("young", "old", "succeeded", "stopped", "deleted"):
        await pods.start(spec_of(name))
    await ended(cluster, "young", 3)
    await ended(cluster, "old", 3, age=HOUR + 60)
    await ended(cluster, "succeeded", 0, SUCCEEDED)
    await ended(cluster, "stopped", 143)
    await ended(cluster, "deleted", 3)
    await cluster.vanish("deleted")  # a person has seen enough
    instances.known = {task_instance("young"): "failed"}
    for runtime in (pods, child):
        await sweep_of(runtime, keep=HOUR).run()
        assert (set(cluster.pods), set(cluster.secrets)) == ({"young"}, {"young"})
    instances.known = {}  # it was cleared: that is another task instance now, and this one can still be looked at
    await sweep_of(child, keep=HOUR).run()
    assert set(cluster.pods) == {"young"}
    await sweep_of(child, keep=30.0).run()
    assert (cluster.pods, cluster.secrets) == ({}, {})


async def test_a_kept_pod_that_somebody_deletes_leaves_no_secret(cluster, pods, sweep_of) -> None:
    handle = await pods.start(spec_of("a"))
    await ended(cluster, "a", 3)
    await pods.wait(handle)
    await sweep_of(pods, keep=HOUR).run()
    assert set(cluster.pods) == {"a"}
    await cluster.vanish("a")
    await until(lambda: (pods._watch.get("a") or {}).get("metadata", {}).get("gone"))
    await sweep_of(pods, keep=HOUR).run()
    assert cluster.secrets == {}
    assert await pods.find() == []


async def test_one_that_cannot_be_removed_does_not_hold_up_the_others(cluster, pods, child, sweep_of) -> None:
    for name in ("a", "b", "c"):
        await pods.start(spec_of(name))
        await ended(cluster, name, 0, SUCCEEDED)
    cluster.refuse = lambda verb, path: (403, "Forbidden", "no") if (verb, path) == ("DELETE", "pods/a") else None
    await sweep_of(child).run()
    assert set(cluster.pods) == {"a"}
    cluster.refuse = lambda verb, path: None
    await sweep_of(child).run()
    assert cluster.pods == {}


async def test_one_of_which_nobody_can_tell_how_it_ended_is_not_kept(
    cluster, pods, child, sweep_of, monkeypatch
) -> None:
    monkeypatch.setattr(sweep, "_LOOK_SECONDS", 0.05)
    never = asyncio.Event()

    async def broken(handle: Handle) -> None:
        if handle.name == "broken":
            raise ValueError(handle.name)
        await never.wait()

    monkeypatch.setattr(child, "wait", broken)
    for name in ("broken", "silent"):
        await pods.start(spec_of(name))
        await ended(cluster, name, 3)
    await sweep_of(child, keep=HOUR).run()
    assert cluster.pods == {}


# -- Docker -------------------------------------------------------------------------------------------


async def test_containers(tmp_path: Path, sweep_of, instances) -> None:
    async with FakeEngine(tmp_path / "engine.sock") as engine:
        runtime, after_a_crash = (DockerRuntime(connect_to_engine(engine.address), image=IMAGE) for _ in range(2))
        for name in ("failed", "old", "stopped", "succeeded", "running", "live"):
            await runtime.start(spec_of(name))
        never = config_of(spec_of("never-started"), image=IMAGE, network="none")
        await runtime._engine.containers.create(never, name="never-started")
        engine.containers["failed"].end(3)
        engine.containers["old"].end(3)
        engine.containers["old"].finished = f"{datetime.now(UTC) - timedelta(seconds=HOUR + 60):%Y-%m-%dT%H:%M:%SZ}"
        engine.containers["succeeded"].end(0, verdict=SUCCEEDED.encode())
        (handle,) = [one for one in await runtime.find() if one.name == "stopped"]
        await runtime.stop(handle, grace=1)
        instances.known = {task_instance("live"): "running"}
        await sweep_of(after_a_crash, keep=HOUR).run()
        assert set(engine.containers) == {"failed", "live"}
        await sweep_of(after_a_crash).run()
        assert set(engine.containers) == {"live"}
        await runtime.close()
        await after_a_crash.close()


# -- processes of this host ---------------------------------------------------------------------------


async def test_folders(tmp_path: Path, sweep_of) -> None:
    runtime, after_a_crash = (LocalRuntime(tmp_path / "attempts", interval=0.05) for _ in range(2))
    sources = {
        "failed": "raise SystemExit(3)",
        "crashed": "import os; os.abort()",
        "stopped": "import time; time.sleep(600)",
    }
    for name, source in sources.items():
        spec = replace(program(source, name=name), labels={"task_instance": task_instance(name)})
        handle = await runtime.start(spec)
        if name == "stopped":
            await runtime.stop(handle, grace=0)
        await runtime.wait(handle)
    AttemptFolder(runtime.folder("never-started")).create(spec_of("never-started"))
    await runtime.close()
    await sweep_of(after_a_crash, keep=HOUR).run()
    assert {path.name for path in (tmp_path / "attempts").iterdir()} == {"failed", "crashed"}
    await sweep_of(after_a_crash).run()
    assert list((tmp_path / "attempts").iterdir()) == []
    await after_a_crash.close()
