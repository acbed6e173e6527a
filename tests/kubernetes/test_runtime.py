"""The Kubernetes runtime on a real cluster: what a pod's end means, logs, limits, and that nothing is left behind."""

from __future__ import annotations

import asyncio
import base64
import json
import random

import pytest

from airflow_sop_provider.contract import ErrorType
from airflow_sop_provider.engine.failures import classify
from airflow_sop_provider.operators.pod_token import TOKEN_FOLDER, TOKEN_SECONDS
from airflow_sop_provider.runtimes import Handle, RuntimeStartError
from airflow_sop_provider.runtimes.kubernetes import KubernetesRuntime, connect_by_environment
from tests.kubernetes.conftest import Kubectl
from tests.kubernetes.killing import ClusterKiller, cluster_is_ours
from tests.runtimes.steps import python, shell

pytestmark = [pytest.mark.kubernetes, pytest.mark.timeout(600)]


async def said(runtime: KubernetesRuntime, handle: Handle) -> list[str]:
    """What the step's own program printed."""
    events = []
    async for _, line in runtime.logs(handle):
        try:
            events.append(str(json.loads(line)["event"]))
        except (ValueError, KeyError, TypeError):
            events.append(line)
    return events


async def finish(runtime: KubernetesRuntime, kubectl: Kubectl, handle: Handle) -> None:
    """Remove the attempt, and see that nothing of it is left."""
    await runtime.remove(handle)
    for _ in range(1500):
        if not kubectl.left():
            return
        await asyncio.sleep(0.2)
    raise AssertionError(f"left behind: {kubectl.left()}")


async def test_a_step_runs_in_a_pod_and_its_outputs_come_back(runtime, attempt, kubectl):
    handle = await runtime.start(attempt({"compute": {"answer": "6 * 7"}}))
    outcome = await runtime.wait(handle)
    assert classify(outcome) is None, (outcome, await said(runtime, handle))
    assert outcome.verdict.outputs == {"answer": 42}
    assert outcome.verdict.usage.peak_memory_bytes > 0
    await finish(runtime, kubectl, handle)


async def test_two_starts_are_one_pod_and_another_runtime_finds_it(runtime, attempt, kubectl):
    spec = attempt(shell("sleep 5; echo done"))
    first, second = await asyncio.gather(runtime.start(spec), runtime.start(spec))
    assert first.uid == second.uid
    other = KubernetesRuntime(connect_by_environment(), namespace=kubectl.namespace)
    try:
        assert (await other.start(spec)).uid == first.uid
        (found,) = await other.find()
        assert (found.name, dict(found.labels)) == (spec.name, dict(spec.labels))
        assert classify(await other.wait(found)) is None
    finally:
        await other.close()
    assert classify(await runtime.wait(first)) is None
    await finish(runtime, kubectl, first)


async def test_a_pod_may_do_nothing_it_need_not(runtime, attempt, kubectl):
    probe = (
        "import os, pathlib\n"
        "print('uid', os.getuid())\n"
        "print('capabilities', [l for l in open('/proc/self/status') if l.startswith('CapEff')][0].split()[1])\n"
        "print('credentials', pathlib.Path('/var/run/secrets/kubernetes.io').exists())\n"
        "try: open('/etc/x', 'w'); print('root is writable')\n"
        "except OSError as error: print('root', error.errno)\n"
        "open('/tmp/x', 'w'); print('tmp is writable')\n"
        "print('services', [n for n in os.environ if n.endswith('_SERVICE_HOST') and n != 'KUBERNETES_SERVICE_HOST'])\n"
    )
    handle = await runtime.start(attempt(python(probe)))
    assert classify(await runtime.wait(handle)) is None
    text = await said(runtime, handle)
    for expected in ("uid 65532", "capabilities 0000000000000000", "credentials False", "root 30", "tmp is writable"):
        assert expected in text, (expected, text)
    assert "services []" in text
    await finish(runtime, kubectl, handle)


async def test_a_pod_has_a_token_for_the_engine_bound_to_it_that_the_clusters_api_refuses(runtime, attempt, kubectl):
    probe = "import os; print('token', open(os.environ['TOKEN']).read())"
    step = python(probe)
    step["command"]["env"] = {"TOKEN": f"{TOKEN_FOLDER}/token"}
    spec = attempt(step, engine_url="https://engine.example/sop")
    handle = await runtime.start(spec)
    assert classify(await runtime.wait(handle)) is None, await said(runtime, handle)
    (token,) = [line.removeprefix("token ") for line in await said(runtime, handle) if line.startswith("token ")]
    claims = json.loads(base64.urlsafe_b64decode(token.split(".")[1] + "=="))
    assert claims["aud"] == ["sop-engine"]
    assert claims["kubernetes.io"]["pod"] == {"name": handle.name, "uid": handle.uid}
    assert claims["exp"] - claims["iat"] == TOKEN_SECONDS
    review = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview"}
    asked = {"engine": {"token": token, "audiences": ["sop-engine"]}, "api": {"token": token}}
    answers = {
        who: json.loads(kubectl("create", "-o", "json", "-f", "-", stdin=json.dumps({**review, "spec": one})))
        for who, one in asked.items()
    }
    assert answers["engine"]["status"]["authenticated"] is True
    assert answers["api"]["status"].get("authenticated", False) is False
    await finish(runtime, kubectl, handle)


@pytest.mark.parametrize(
    ("step", "payload", "expected", "code"),
    [
        (shell("exit 75"), {}, ErrorType.TRANSIENT, None),
        (shell("exit 65"), {}, ErrorType.PERMANENT, None),
        (shell("exit 3"), {}, ErrorType.CRASH, None),
        (python("x = bytearray(10**9); print(len(x))"), {"memory_bytes": 100 * 1024**2}, ErrorType.RESOURCE, None),
        (shell("sleep 600"), {"timeout_seconds": 5.0}, ErrorType.RESOURCE, "out-of-time"),
    ],
    ids=["transient", "permanent", "crash", "memory", "time"],
)
async def test_the_type_of_a_failure(runtime, attempt, kubectl, step, payload, expected, code):
    handle = await runtime.start(attempt(step, **payload))
    outcome = await runtime.wait(handle)
    failure = classify(outcome)
    assert failure is not None
    assert failure.type is expected, failure
    assert code in (None, failure.code)
    await finish(runtime, kubectl, handle)


@pytest.mark.parametrize(
    ("image", "code"), [("localhost/there-is-none:1", "bad-container"), ("Not A Name", "bad-container")]
)
async def test_an_image_that_cannot_be_had_fails_for_good(runtime, attempt, kubectl, image, code):
    spec = attempt(shell("true"), image=image)
    spec.pod["spec"]["containers"][0]["imagePullPolicy"] = "Never" if image.startswith("localhost") else "IfNotPresent"
    handle = await runtime.start(spec)
    failure = classify(await runtime.wait(handle))
    assert failure is not None
    assert (failure.type, failure.code) == (ErrorType.PERMANENT, code), failure
    await finish(runtime, kubectl, handle)


async def test_a_pod_spec_that_is_not_valid_is_refused(runtime, attempt, kubectl):
    spec = attempt(shell("true"))
    spec.pod["spec"]["containers"][0]["resources"] = {"limits": {"memory": "-1"}}
    with pytest.raises(RuntimeStartError) as caught:
        await runtime.start(spec)
    assert caught.value.error_type is ErrorType.PERMANENT
    assert caught.value.evidence["api_status"] == 422


async def test_a_full_quota_sends_the_attempt_back_to_the_queue(runtime, attempt, kubectl):
    kubectl.apply(apiVersion="v1", kind="ResourceQuota", metadata={"name": "none"}, spec={"hard": {"count/pods": "0"}})
    for _ in range(100):
        status = kubectl.json("get", "resourcequota", "none").get("status", {})
        if status.get("hard"):
            break
        await asyncio.sleep(0.1)
    with pytest.raises(RuntimeStartError) as caught:
        await runtime.start(attempt(shell("true")))
    assert (caught.value.error_type, caught.value.code) == (ErrorType.REQUEUE, "quota")


async def test_a_service_account_that_is_not_there_yet_sends_the_attempt_back_to_the_queue(runtime, attempt, kubectl):
    """As in a namespace made a moment ago, whose own account a controller has yet to make."""
    spec = attempt(shell("true"))
    spec.pod["spec"]["serviceAccountName"] = "later"
    with pytest.raises(RuntimeStartError) as caught:
        await runtime.start(spec)
    assert (caught.value.error_type, caught.value.code) == (ErrorType.REQUEUE, "no-service-account")
    kubectl("create", "serviceaccount", "later")
    handle = await runtime.start(spec)
    await runtime.wait(handle)
    await finish(runtime, kubectl, handle)


async def test_a_pod_that_no_node_has_room_for_goes_back_to_the_queue(attempt, kubectl):
    runtime = KubernetesRuntime(connect_by_environment(), namespace=kubectl.namespace, start_seconds=5)
    try:
        handle = await runtime.start(attempt(shell("true"), cpu_millis=1_000_000))
        outcome = await runtime.wait(handle)
        failure = classify(outcome)
        assert failure is not None
        assert failure.type is ErrorType.REQUEUE
        assert "Insufficient cpu" in outcome.evidence["message"]
        await finish(runtime, kubectl, handle)
    finally:
        await runtime.close()


async def test_a_pod_deleted_by_hand_is_a_crash(runtime, attempt, kubectl):
    handle = await runtime.start(attempt(shell("echo begin; sleep 600")))
    async for _, line in runtime.logs(handle):
        if "begin" in line:
            break
    kubectl("delete", "pod", handle.name, "--grace-period=1", "--wait=false")
    failure = classify(await runtime.wait(handle))
    assert failure is not None
    assert failure.type is ErrorType.CRASH, failure
    await finish(runtime, kubectl, handle)


async def test_stop_ends_the_pods_processes(runtime, attempt, kubectl):
    handle = await runtime.start(attempt(shell("echo begin; sleep 600")))
    async for _, line in runtime.logs(handle):
        if "begin" in line:
            break
    waiting = asyncio.create_task(runtime.wait(handle))
    await runtime.stop(handle, grace=2)
    assert (await waiting).stopped
    await finish(runtime, kubectl, handle)


async def test_a_hundred_thousand_lines_each_once(runtime, attempt, kubectl):
    program = "for n in range(100_000): print(f'line-{n}')"
    handle = await runtime.start(attempt(python(program)))
    reading = asyncio.create_task(said(runtime, handle))
    assert classify(await runtime.wait(handle)) is None
    found = [line for line in await reading if line.startswith("line-")]
    assert len(found) == 100_000
    assert found == [f"line-{n}" for n in range(100_000)]
    await finish(runtime, kubectl, handle)


@pytest.mark.alone
@pytest.mark.skipif(not cluster_is_ours(), reason="the cluster is not ours")
async def test_the_api_server_is_killed_and_comes_back(runtime, attempt, kubectl):
    program = "import time\nfor n in range(200): print(f'line-{n}', flush=True); time.sleep(0.1)"
    handle = await runtime.start(attempt(python(program)))
    reading = asyncio.create_task(said(runtime, handle))
    await asyncio.sleep(8)
    await asyncio.to_thread(ClusterKiller(random.Random()).api_server)
    outcome = await runtime.wait(handle)
    assert classify(outcome) is None, outcome
    assert [line for line in await reading if line.startswith("line-")] == [f"line-{n}" for n in range(200)]
    await finish(runtime, kubectl, handle)
