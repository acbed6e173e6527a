"""The Kubernetes runtime against a server that behaves like Kubernetes' and misbehaves on request.

Beside it, tests/kubernetes runs the same runtime on a real cluster.
"""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from airflow_sop_provider.contract import ErrorType, Verdict
from airflow_sop_provider.engine.failures import classify
from airflow_sop_provider.runtimes import (
    AttemptSpec,
    Handle,
    RuntimeSettings,
    RuntimeStartError,
    RuntimeStateError,
    kube_api,
    kube_logs,
    kube_watch,
    kubernetes,
    open_runtime,
)
from airflow_sop_provider.runtimes.kube_api import KubeApi
from airflow_sop_provider.runtimes.kubernetes import KubernetesRuntime
from airflow_sop_provider.runtimes.pace import Pace
from tests.runtimes.fake_kubernetes import FakeKubernetes
from tests.runtimes.helpers import until

pytestmark = pytest.mark.timeout(300)

LABELS = {"sop": "s", "execution": "manual__2026-01-01T00:00:00+00:00", "task_instance": "t"}
POD = {"metadata": {"labels": {"site": "own"}}, "spec": {"containers": [{"name": "base", "image": "runner:1"}]}}
NO_ACCOUNT = 'pods "a" is forbidden: error looking up service account n/default: serviceaccount "default" not found'
SUCCESS = Verdict(status="succeeded", outputs={"answer": 42}).model_dump_json()


def attempt(name: str = "sop-a", **more: Any) -> AttemptSpec:
    files = {"assignment.json": b'{"a": 1}', "fleet.yaml": b"servers: {}"}
    return AttemptSpec(name=name, argv=("python",), files=files, labels=LABELS, pod=POD, **more)


@pytest.fixture(autouse=True)
def _fast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kube_api, "_FIRST_PAUSE", 0.01)
    monkeypatch.setattr(kube_watch, "_PAUSE_SECONDS", 0.01)
    monkeypatch.setattr(kubernetes, "_LOG_PAUSE_SECONDS", 0.01)


@pytest.fixture
async def cluster() -> AsyncIterator[FakeKubernetes]:
    async with FakeKubernetes() as cluster:
        yield cluster


@pytest.fixture
async def runtime(cluster: FakeKubernetes) -> AsyncIterator[KubernetesRuntime]:
    runtime = KubernetesRuntime(cluster.connect, namespace="steps")
    yield runtime
    await runtime.close()


async def read(runtime: KubernetesRuntime, handle: Handle, offset: int = 0) -> list[tuple[int, str]]:
    return [item async for item in runtime.logs(handle, offset)]


# -- start --------------------------------------------------------------------------------------------


async def test_an_attempt_is_a_pod_with_its_files_in_a_secret(cluster, runtime):
    handle = await runtime.start(attempt(env={"EXTRA": "1"}))
    assert (handle.name, handle.state, handle.adopted) == ("sop-a", "created", False)
    pod, secret = cluster.pods["sop-a"], cluster.secrets["sop-a"]
    assert base64.b64decode(secret["data"]["assignment.json"]) == b'{"a": 1}'
    assert pod["metadata"]["labels"] == {"site": "own", "app.kubernetes.io/managed-by": "airflow-sop-provider"}
    (container,) = pod["spec"]["containers"]
    environment = {one["name"]: one["value"] for one in container["env"]}
    assert environment == {
        "EXTRA": "1",
        "SOP_STEP": "/run/sop/assignment.json",
        "SOP_FLEET": "/run/sop/fleet.yaml",
    }
    assert container["volumeMounts"] == [{"name": "sop-files", "mountPath": "/run/sop", "readOnly": True}]
    assert "assignment" not in json.dumps(pod["spec"]).replace("/run/sop/assignment.json", "")
    assert "env" not in POD["spec"]["containers"][0], "the attempt's pod is not changed"


async def test_of_thousands_of_pods_only_that_is_kept_which_says_how_they_are(cluster, runtime):
    await runtime.start(attempt())
    cluster.pods["sop-a"]["spec"]["nodeName"] = "n1"
    cluster.pods["sop-a"]["metadata"]["managedFields"] = [{"manager": "kubelet"}]
    await cluster.run("sop-a")
    await until(lambda: runtime._watch.get("sop-a")["status"]["phase"] == "Running")
    kept = runtime._watch.get("sop-a")
    assert kept["spec"] == {"nodeName": "n1"}
    assert "managedFields" not in kept["metadata"]


async def test_a_second_start_adopts_whoever_made_the_first(cluster, runtime):
    first = await runtime.start(attempt())
    assert (await runtime.start(attempt())).adopted
    other = KubernetesRuntime(cluster.connect, namespace="steps")
    try:
        second = await other.start(attempt())
        assert (second.uid, second.adopted) == (first.uid, True)
    finally:
        await other.close()
    assert len(cluster.pods) == 1


async def test_a_pod_that_another_made_a_moment_ago_is_adopted(cluster, runtime):
    await runtime.find()
    cluster.pods["sop-a"] = {
        "metadata": {"name": "sop-a", "uid": "u", "resourceVersion": "1", "creationTimestamp": "2026-01-01T00:00:00Z"},
        "spec": POD["spec"],
        "status": {"phase": "Pending"},
    }
    handle = await runtime.start(attempt())
    assert (handle.uid, handle.adopted) == ("u", True)


@pytest.mark.parametrize(
    ("status", "reason", "message", "expected", "code"),
    [
        (403, "Forbidden", 'exceeded quota: pods, requested: "1"', ErrorType.REQUEUE, "quota"),
        (403, "Forbidden", NO_ACCOUNT, ErrorType.REQUEUE, "no-service-account"),
        (403, "Forbidden", 'User "x" cannot create resource "pods"', ErrorType.PERMANENT, "not-allowed"),
        (404, "NotFound", 'namespaces "steps" not found', ErrorType.PERMANENT, "no-namespace"),
        (422, "Invalid", "spec.containers[0].image: Required value", ErrorType.PERMANENT, "bad-pod"),
        (503, "ServiceUnavailable", "etcd is away", ErrorType.TRANSIENT, "runtime-api"),
        (429, "TooManyRequests", "slow down", ErrorType.TRANSIENT, "runtime-api"),
    ],
)
async def test_what_a_refusal_means(cluster, runtime, status, reason, message, expected, code):
    cluster.refuse = lambda verb, path: (status, reason, message) if (verb, path) == ("POST", "pods") else None
    with pytest.raises(RuntimeStartError, match=str(status)) as caught:
        await runtime.start(attempt())
    failure = classify(caught.value)
    assert failure is not None
    assert (failure.type, failure.code) == (expected, code)
    assert failure.evidence["api_status"] == status


async def test_a_server_that_is_busy_for_a_moment_is_asked_again(cluster, runtime):
    answers = iter([(429, "TooManyRequests", "slow down"), (500, "InternalError", "etcd")])
    cluster.refuse = lambda verb, path: next(answers, None) if (verb, path) == ("POST", "pods") else None
    assert not (await runtime.start(attempt())).adopted


async def test_a_server_that_says_when_to_ask_again_is_asked_then(cluster, runtime, caplog):
    answers = iter([(429, "TooManyRequests", "slow down")])
    cluster.refuse = lambda verb, path: next(answers, None) if (verb, path) == ("POST", "pods") else None
    cluster.refusal_headers = {"Retry-After": "1"}
    assert not (await runtime.start(attempt())).adopted
    assert "slow down; trying again in 1 s" in caplog.text


async def test_every_call_waits_for_its_turn(cluster):
    turns = []

    class Counting(Pace):
        async def turn(self) -> None:
            turns.append(None)

    api = KubeApi(cluster.connect, "steps", pace=Counting(1, 1))
    await api.read_pod("none")
    await api.pods("a=b")
    await api.close()
    assert len(turns) == 2


async def test_an_attempt_without_a_pod_or_with_too_much_is_refused(runtime):
    with pytest.raises(RuntimeStartError, match="has no pod"):
        await runtime.start(AttemptSpec(name="x", argv=("python",)))
    with pytest.raises(RuntimeStartError, match="more than a Secret may hold"):
        await runtime.start(AttemptSpec(name="x", argv=("python",), files={"a": b"x" * 1_000_001}, pod=POD))


async def test_expired_credentials_are_read_again(cluster, runtime):
    await runtime.start(attempt())
    cluster.token = "second"
    assert not (await runtime.start(attempt("sop-b"))).adopted


# -- wait ---------------------------------------------------------------------------------------------


async def test_the_verdict_is_the_termination_message(cluster, runtime):
    handle = await runtime.start(attempt())
    over = asyncio.create_task(runtime.wait(handle))
    await cluster.run("sop-a")
    await cluster.end("sop-a", 0, SUCCESS)
    outcome = await over
    assert outcome.verdict is not None
    assert outcome.verdict.outputs == {"answer": 42}
    assert outcome.exit_code == 0
    assert classify(outcome) is None
    assert (await runtime.wait(handle)) == outcome


async def test_an_attempt_that_ended_while_nobody_looked(cluster, runtime):
    handle = await runtime.start(attempt())
    await runtime.close()
    await cluster.end("sop-a", 75, "")
    later = KubernetesRuntime(cluster.connect, namespace="steps")
    try:
        failure = classify(await later.wait(handle))
        assert failure is not None
        assert failure.type is ErrorType.TRANSIENT
        (found,) = await later.find()
        assert (found.state, found.labels) == ("ended", LABELS)
    finally:
        await later.close()


@pytest.mark.parametrize("trouble", ["break_streams", "forget_history"])
async def test_a_watch_that_breaks_misses_nothing(cluster, runtime, trouble):
    handle = await runtime.start(attempt())
    over = asyncio.create_task(runtime.wait(handle))
    await cluster.run("sop-a")
    await getattr(cluster, trouble)()
    await cluster.end("sop-a", 0, SUCCESS)
    assert (await over).exit_code == 0


async def test_a_pod_that_vanishes_while_the_watch_is_broken(cluster, runtime):
    handle = await runtime.start(attempt())
    over = asyncio.create_task(runtime.wait(handle))
    await cluster.run("sop-a")
    await asyncio.sleep(0.05)
    cluster.refuse = lambda verb, path: (503, "ServiceUnavailable", "restarting")
    await cluster.forget_history()
    await cluster.vanish("sop-a")
    cluster.oldest = 10**9
    cluster.refuse = lambda verb, path: None
    cluster.oldest = 0
    outcome = await over
    assert outcome.evidence["started"] is True
    failure = classify(outcome)
    assert failure is not None
    assert failure.type is ErrorType.CRASH


async def test_a_list_that_is_older_than_a_pod_does_not_make_it_gone(cluster, runtime):
    handle = await runtime.start(attempt())
    pod = cluster.pods.pop("sop-a")  # as a list shows it that was made before the pod
    pod["metadata"]["resourceVersion"] = "1000000"
    runtime._watch.put(json.loads(json.dumps(pod)))
    await runtime._watch._list()
    assert [found.name for found in await runtime.find()] == [handle.name]
    pod["metadata"]["resourceVersion"] = "1"
    runtime._watch.forget("sop-a")
    runtime._watch.put(pod)
    await runtime._watch._list()
    assert await runtime.find() == [Handle(name="sop-a", uid="", state="created", adopted=True, labels=LABELS)]


async def test_a_watch_that_ends_within_an_event_is_made_again():
    with pytest.raises(kube_api.KubeError, match="within an event"):
        kube_api._event(b'{"type": "ADD')


async def test_a_pod_that_cannot_start_and_cannot_be_deleted_yet(cluster, runtime, monkeypatch):
    monkeypatch.setattr(kubernetes, "_LOOK_SECONDS", 0.05)
    handle = await runtime.start(attempt())
    cluster.refuse = lambda verb, path: (403, "Forbidden", "no") if verb == "DELETE" else None
    over = asyncio.create_task(runtime.wait(handle))
    await cluster.waiting("sop-a", "InvalidImageName")
    await until(lambda: any(verb == "DELETE" for verb, _, _ in cluster.seen))
    assert not over.done()
    cluster.refuse = lambda verb, path: None
    assert (await over).evidence["reason"] == "InvalidImageName"


async def test_a_pod_deleted_by_hand_before_it_ran_goes_back_to_the_queue(cluster, runtime):
    handle = await runtime.start(attempt())
    over = asyncio.create_task(runtime.wait(handle))
    await asyncio.sleep(0.05)
    await cluster.vanish("sop-a")
    failure = classify(await over)
    assert failure is not None
    assert failure.type is ErrorType.REQUEUE


async def test_a_pod_of_which_nothing_is_known_any_more(cluster, runtime):
    handle = Handle(name="sop-x", uid="u", state="running", adopted=True)
    outcome = await runtime.wait(handle)
    assert outcome.evidence["reason"] == "PodDeleted"


@pytest.mark.parametrize(
    ("reason", "message", "expected"),
    [
        ("InvalidImageName", "couldn't parse image name", ErrorType.PERMANENT),
        ("ErrImagePull", 'failed to pull: "runner:1": not found', ErrorType.PERMANENT),
        ("ErrImageNeverPull", "not present", ErrorType.PERMANENT),
        ("CreateContainerConfigError", 'secret "x" not found', ErrorType.PERMANENT),
    ],
)
async def test_a_container_that_can_never_start_fails_at_once(cluster, runtime, reason, message, expected):
    handle = await runtime.start(attempt())
    over = asyncio.create_task(runtime.wait(handle))
    await cluster.waiting("sop-a", reason, message)
    outcome = await over
    failure = classify(outcome)
    assert failure is not None
    assert failure.type is expected
    assert outcome.evidence["message"] == message
    await until(lambda: not cluster.pods)


async def test_a_container_whose_node_ended_before_its_start_goes_back_to_the_queue_soon(cluster, runtime, monkeypatch):
    handle = await runtime.start(attempt())
    over = asyncio.create_task(runtime.wait(handle))
    made = {"name": "base", "containerID": "containerd://d5", "started": False, "state": {"waiting": {}}}
    no_sandbox = [{"type": "PodReadyToStartContainers", "status": "False"}]
    await cluster.status("sop-a", phase="Pending", containerStatuses=[made], conditions=no_sandbox)
    await asyncio.sleep(0.05)
    assert not over.done(), "for a moment every container may look so"
    monkeypatch.setattr(kubernetes, "_LOST_SECONDS", 0.0)
    await cluster.status("sop-a", phase="Pending")
    failure = classify(await over)
    assert failure is not None
    assert failure.type is ErrorType.REQUEUE
    await until(lambda: not cluster.pods)


async def test_a_container_that_does_not_start_in_time_goes_back_to_the_queue(cluster):
    runtime = KubernetesRuntime(cluster.connect, namespace="steps", start_seconds=0.5)
    try:
        handle = await runtime.start(attempt())
        condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/1 nodes"}
        over = asyncio.create_task(runtime.wait(handle))
        await cluster.status("sop-a", conditions=[condition])
        outcome = await over
        failure = classify(outcome)
        assert failure is not None
        assert failure.type is ErrorType.REQUEUE
        assert outcome.evidence["message"] == "0/1 nodes"
        assert outcome.evidence["waited_seconds"] >= 0.5
    finally:
        await runtime.close()


# -- logs ---------------------------------------------------------------------------------------------


def written(count: int) -> list[tuple[str, str]]:
    """Lines of which two at a time have one nanosecond, over several seconds."""
    return [(f"2026-01-01T00:00:{n // 4:02}.{n // 2 % 2 + 1:09}Z", f"line {n}") for n in range(count)]


async def test_the_output_while_it_is_written_and_after(cluster, runtime):
    handle = await runtime.start(attempt())
    reading = asyncio.create_task(read(runtime, handle))
    await asyncio.sleep(0.05)
    cluster.logs["sop-a"] = written(5)
    await cluster.run("sop-a")
    await asyncio.sleep(0.05)
    cluster.logs["sop-a"] += written(9)[5:]
    await cluster.end("sop-a", 0)
    assert [line for _, line in await reading] == [f"line {n}" for n in range(9)]


@pytest.mark.parametrize("cut", [0, 1, 2, 5, 6, 11])
async def test_each_line_once_although_the_connection_breaks(cluster, runtime, cut):
    handle = await runtime.start(attempt())
    cluster.logs["sop-a"] = written(12)
    cluster.cut_logs_after = cut
    await cluster.end("sop-a", 0)
    assert [line for _, line in await read(runtime, handle)] == [f"line {n}" for n in range(12)]


async def test_every_offset_continues_exactly_there(cluster, runtime):
    handle = await runtime.start(attempt())
    cluster.logs["sop-a"] = [*written(12), ("no time at all", "is what the node itself says")]
    await cluster.end("sop-a", 0)
    items = await read(runtime, handle)
    for number, (offset, _) in enumerate(items):
        assert await read(runtime, handle, offset) == items[number + 1 :]


async def test_a_pod_that_never_ran_or_is_gone_has_no_output(cluster, runtime):
    handle = await runtime.start(attempt())
    reading = asyncio.create_task(read(runtime, handle))
    await cluster.status("sop-a", phase="Failed", reason="Evicted")
    assert await reading == []
    gone = Handle(name="sop-x", uid="u", state="running", adopted=True)
    assert await read(runtime, gone) == []


# -- stop, remove, find ---------------------------------------------------------------------------------


async def test_stop_deletes_the_pod_and_returns_when_its_processes_are_gone(cluster, runtime):
    handle = await runtime.start(attempt())
    await cluster.run("sop-a")
    over = asyncio.create_task(runtime.wait(handle))
    stopping = asyncio.create_task(runtime.stop(handle, grace=2))
    await until(lambda: "deletionTimestamp" in cluster.pods["sop-a"]["metadata"])
    assert not stopping.done()
    await cluster.end("sop-a", 143)
    await cluster.vanish("sop-a")
    await stopping
    assert (await over).stopped
    deleted = next(body for verb, path, body in cluster.seen if verb == "DELETE" and path == "pods/sop-a")
    assert deleted == {"preconditions": {"uid": handle.uid}, "gracePeriodSeconds": 2}
    await runtime.stop(handle, grace=1)


async def test_stop_says_if_a_pod_does_not_end(cluster, runtime, monkeypatch):
    monkeypatch.setattr(kubernetes, "_FORCE_SECONDS", 0.1)
    handle = await runtime.start(attempt())
    await cluster.run("sop-a")
    with pytest.raises(RuntimeStateError, match="still runs"):
        await runtime.stop(handle, grace=0)


async def test_remove_takes_the_pod_and_its_secret(cluster, runtime):
    handle = await runtime.start(attempt())
    await cluster.run("sop-a")
    await until(lambda: (runtime._watch.get("sop-a") or {}).get("status", {}).get("phase") == "Running")
    with pytest.raises(RuntimeStateError, match="still runs"):
        await runtime.remove(handle)
    await cluster.end("sop-a", 0, SUCCESS)
    await runtime.wait(handle)
    await runtime.remove(handle)
    assert (cluster.pods, cluster.secrets) == ({}, {})
    await runtime.remove(handle)


async def test_remove_leaves_another_pod_of_that_name_alone(cluster, runtime):
    handle = await runtime.start(attempt())
    await cluster.end("sop-a", 0)
    old = Handle(name="sop-a", uid="another", state="ended", adopted=True)
    await runtime.remove(old)
    assert "sop-a" in cluster.pods
    assert handle.uid == cluster.pods["sop-a"]["metadata"]["uid"]


async def test_find_lists_pods_and_what_a_crash_left_between_secret_and_pod(cluster, runtime):
    for name in ("sop-a", "sop-b", "sop-c"):
        await runtime.start(attempt(name))
    await cluster.run("sop-b")
    cluster.secrets["sop-left"] = {"metadata": {"name": "sop-left", "annotations": {"sop/labels": json.dumps(LABELS)}}}
    await until(lambda: (runtime._watch.get("sop-b") or {}).get("status", {}).get("phase") == "Running")
    found = {handle.name: handle for handle in await runtime.find()}
    assert {name: handle.state for name, handle in found.items()} == {
        "sop-a": "created",
        "sop-b": "running",
        "sop-c": "created",
        "sop-left": "created",
    }
    assert all(handle.labels == LABELS and handle.adopted for handle in found.values())
    await runtime.stop(found["sop-left"], grace=1)
    await runtime.remove(found["sop-left"])
    assert "sop-left" not in cluster.secrets


async def test_what_the_api_refuses_is_told(cluster, runtime):
    handle = await runtime.start(attempt())
    await cluster.end("sop-a", 0)
    await runtime.wait(handle)
    cluster.refuse = lambda verb, path: (403, "Forbidden", "no") if verb == "DELETE" or path == "secrets" else None
    with pytest.raises(RuntimeStateError, match="could not be removed: no"):
        await runtime.remove(handle)
    with pytest.raises(RuntimeStateError, match="could not be stopped: no"):
        await runtime.stop(handle, grace=1)
    with pytest.raises(RuntimeStateError, match="does not list our Secrets: no"):
        await runtime.find()


def opened(tmp_path, monkeypatch, cluster):
    """The runtime as the executor opens it, for the cluster of a kubeconfig."""
    config = tmp_path / "config"
    config.write_text(
        json.dumps(
            {
                "clusters": [{"name": "c", "cluster": {"server": cluster.url}}],
                "users": [{"name": "u", "user": {"token": cluster.token}}],
                "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
                "current-context": "x",
            }
        )
    )
    monkeypatch.setenv("KUBECONFIG", str(config))
    return open_runtime("kubernetes", RuntimeSettings(work_folder=tmp_path, namespace="steps"))


async def test_it_is_opened_by_name(tmp_path, monkeypatch, cluster):
    runtime = opened(tmp_path, monkeypatch, cluster)
    try:
        assert runtime.name == "kubernetes"
        assert await runtime.find() == []
    finally:
        await runtime.close()


async def test_many_are_followed_in_turns_and_one_that_ended_is_read_at_once(cluster, runtime, monkeypatch):
    """With one place: three run at once and all are read to their ends, although the first goes on for ever."""
    monkeypatch.setattr(kube_logs, "_TURN_SECONDS", 0.2)
    monkeypatch.setattr(kube_logs, "_TURN_AMONG_MANY_SECONDS", 0.2)
    runtime._followers = kube_logs.Followers(1)
    handles = [await runtime.start(attempt(f"sop-{name}")) for name in "abc"]
    reading = [asyncio.create_task(read(runtime, handle)) for handle in handles]
    for handle in handles:
        cluster.logs[handle.name] = [("2026-01-01T00:00:01.5Z", f"{handle.name} begins")]
        await cluster.run(handle.name)
    most = 0
    for handle in handles[1:]:
        await until(lambda handle=handle: _follows(cluster, handle))
        most = max(most, sum(not task.done() for task in reading))
        cluster.logs[handle.name].append(("2026-01-01T00:00:02.5Z", f"{handle.name} ends"))
        await cluster.end(handle.name, 0, SUCCESS)
    assert most == 3
    for handle, task in zip(handles[1:], reading[1:], strict=True):
        assert [line for _, line in await task] == [f"{handle.name} begins", f"{handle.name} ends"]
    assert not reading[0].done()
    await cluster.end("sop-a", 0, SUCCESS)
    assert [line for _, line in await reading[0]] == ["sop-a begins"]
    assert not runtime._followers._places.locked(), "each place was given back"


def _follows(cluster: FakeKubernetes, handle: Handle) -> bool:
    return any(path == f"pods/{handle.name}/log" for _, path, _ in cluster.seen)


async def test_who_follows_uses_up_no_call(tmp_path, monkeypatch, cluster):
    """A hundred connections are what the client library allows by default; a hundred that are followed left none."""
    runtime = opened(tmp_path, monkeypatch, cluster)
    try:
        handles = [await runtime.start(attempt(f"sop-{number}")) for number in range(120)]
        reading = [asyncio.create_task(read(runtime, handle)) for handle in handles]
        for handle in handles:
            await cluster.run(handle.name)
        await until(lambda: sum(path.endswith("/log") for _, path, _ in cluster.seen) >= len(handles))
        last = await runtime.start(attempt("sop-last"))
        assert last.name in cluster.pods
        for handle in handles:
            await cluster.end(handle.name, 0, SUCCESS)
        assert await asyncio.gather(*reading) == [[]] * len(handles)
    finally:
        await runtime.close()
