"""What goes wrong with pods and is hard to get right: each as a test on a real cluster.

The list is made of problems that users of `KubernetesPodOperator` keep reporting.
"""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from airflow_sop_provider.contract import ErrorType
from airflow_sop_provider.engine.failures import classify
from airflow_sop_provider.runtimes import Handle, RuntimeStartError
from airflow_sop_provider.runtimes.kubernetes import KubernetesRuntime
from tests.kubernetes.conftest import Kubectl, connect_with
from tests.kubernetes.test_runtime import finish
from tests.runtimes.steps import BURN, python, shell, was_throttled

pytestmark = [pytest.mark.kubernetes, pytest.mark.timeout(600)]

BUSY = shell("echo begin; sleep 600")


async def has_begun(runtime: KubernetesRuntime, handle: Handle) -> None:
    """Return once the step's own program runs."""
    async for _, line in runtime.logs(handle):
        if "begin" in line:
            return


async def test_an_evicted_pod_is_tried_again(runtime, attempt, kubectl: Kubectl):
    handle = await runtime.start(attempt(BUSY))
    await has_begun(runtime, handle)
    eviction = {
        "apiVersion": "policy/v1",
        "kind": "Eviction",
        "metadata": {"name": handle.name, "namespace": kubectl.namespace},
        "deleteOptions": {"gracePeriodSeconds": 1},
    }
    path = f"/api/v1/namespaces/{kubectl.namespace}/pods/{handle.name}/eviction"
    kubectl("create", "--raw", path, "-f", "-", stdin=json.dumps(eviction))
    outcome = await runtime.wait(handle)
    failure = classify(outcome)
    assert failure is not None
    assert failure.type is ErrorType.CRASH, failure
    assert outcome.evidence["reason"] == "Evicted", outcome
    await finish(runtime, kubectl, handle)


@pytest.mark.alone
async def test_a_pod_gives_way_to_one_of_a_higher_priority(runtime, attempt, kubectl: Kubectl):
    """And comes back to the queue or is tried again; the higher one runs."""
    classes = {f"{kubectl.namespace}-low": 1, f"{kubectl.namespace}-critical": 1000}
    for name, value in classes.items():
        kubectl.apply(
            apiVersion="scheduling.k8s.io/v1", kind="PriorityClass", metadata={"name": name}, value=value
        )  # fmt: skip
    low, high = classes
    room = kubectl.json("get", "nodes", "-l", "!sop-simulated")["items"][0]["status"]["allocatable"]["cpu"]
    millis = int(room) * 1000 * 2 // 3
    try:
        weak = attempt(BUSY, cpu_millis=millis)
        weak.pod["spec"]["priorityClassName"] = low
        victim = await runtime.start(weak)
        await has_begun(runtime, victim)
        strong = attempt({"compute": {"a": "1"}}, cpu_millis=millis)
        strong.pod["spec"]["priorityClassName"] = high
        winner = await runtime.start(strong)
        lost = await runtime.wait(victim)
        failure = classify(lost)
        assert failure is not None
        assert (failure.type, lost.evidence["reason"]) == (ErrorType.CRASH, "Preempted"), lost
        assert classify(await runtime.wait(winner)) is None
        await runtime.remove(victim)
        await finish(runtime, kubectl, winner)
    finally:
        kubectl("delete", "priorityclass", *classes, "--wait=false", check=False)


@pytest.mark.alone
async def test_a_pod_on_a_node_that_must_be_left_is_tried_again(runtime, attempt, kubectl: Kubectl):
    """A taint with NoExecute is what Kubernetes puts on a node it has lost."""
    node = kubectl.json("get", "nodes", "-l", "!sop-simulated")["items"][0]["metadata"]["name"]
    handle = await runtime.start(attempt(BUSY))
    await has_begun(runtime, handle)
    try:
        kubectl("taint", "node", node, "sop-test=lost:NoExecute")
        outcome = await runtime.wait(handle)
        failure = classify(outcome)
        assert failure is not None
        assert (failure.type, outcome.evidence["reason"]) == (ErrorType.CRASH, "NodeLost"), outcome
    finally:
        kubectl("taint", "node", node, "sop-test-", check=False)
    await finish(runtime, kubectl, handle)


async def test_memory_that_a_child_ran_out_of_is_seen_although_the_step_exits_with_0(runtime, attempt, kubectl):
    greedy = "python -c 'x = bytearray(10**9)'; echo child ended with $?; exit 0"
    handle = await runtime.start(attempt(shell(greedy), memory_bytes=150 * 1024**2))
    outcome = await runtime.wait(handle)
    assert outcome.oom, outcome
    # the step says it succeeded; whoever looks at the evidence sees what happened
    assert (outcome.verdict.status, classify(outcome)) == ("succeeded", None)
    await finish(runtime, kubectl, handle)


async def test_outputs_above_a_termination_message_come_back_whole(runtime, attempt, kubectl):
    handle = await runtime.start(attempt({"compute": {"numbers": "range(20000) | list"}}))
    outcome = await runtime.wait(handle)
    assert classify(outcome) is None, outcome
    assert outcome.verdict.outputs == {"numbers": list(range(20000))}
    assert [line async for _, line in runtime.logs(handle) if "sop-verdict" in line] == []
    await finish(runtime, kubectl, handle)


async def test_outputs_above_the_limit_fail_for_good(runtime, attempt, kubectl):
    handle = await runtime.start(attempt({"compute": {"numbers": "range(90000) | list"}}))
    failure = classify(await runtime.wait(handle))
    assert failure is not None
    assert (failure.type, failure.code) == (ErrorType.PERMANENT, "output-too-large")
    await finish(runtime, kubectl, handle)


def with_sidecar(pod: dict[str, Any]) -> None:
    """What an injecting webhook makes of a pod: a container that never ends, and an annotation that is its own."""
    own = pod["spec"]["containers"][0]
    sidecar = {"name": "sidecar", "image": own["image"], "command": ["sleep", "3600"]}
    pod["spec"]["containers"].insert(0, {**sidecar, "securityContext": own["securityContext"]})


async def test_a_sidecar_that_never_ends_does_not_keep_the_step_from_ending(runtime, attempt, kubectl):
    spec = attempt({"compute": {"a": "1"}})
    with_sidecar(spec.pod)
    handle = await runtime.start(spec)
    outcome = await runtime.wait(handle)
    assert (classify(outcome), outcome.verdict.outputs) == (None, {"a": 1})
    await finish(runtime, kubectl, handle)


async def test_an_init_container_that_fails_is_named(runtime, attempt, kubectl):
    spec = attempt({"compute": {"a": "1"}})
    own = spec.pod["spec"]["containers"][0]
    init = {"name": "init", "image": own["image"], "command": ["sh", "-c", "exit 3"]}
    spec.pod["spec"]["initContainers"] = [{**init, "securityContext": own["securityContext"]}]
    handle = await runtime.start(spec)
    outcome = await runtime.wait(handle)
    failure = classify(outcome)
    assert failure is not None
    assert outcome.evidence["reason"] == "InitContainerFailed", outcome
    assert failure.type in (ErrorType.CRASH, ErrorType.REQUEUE)
    await finish(runtime, kubectl, handle)


async def test_a_namespace_that_is_gone_is_said(runtime, attempt, kubectl):
    kubectl("delete", "namespace", kubectl.namespace, "--wait=true")
    with pytest.raises(RuntimeStartError, match="namespace") as caught:
        await runtime.start(attempt({"compute": {"a": "1"}}))
    assert caught.value.error_type is ErrorType.PERMANENT


async def test_what_we_may_not_do_is_said(attempt, kubectl: Kubectl, tmp_path, kubeconfig):
    """An account that may watch pods and create none."""
    kubectl("create", "serviceaccount", "reader")
    kubectl("create", "role", "reader", "--verb=get,list,watch", "--resource=pods,secrets")
    kubectl("create", "rolebinding", "reader", "--role=reader", f"--serviceaccount={kubectl.namespace}:reader")
    token = kubectl("create", "token", "reader").strip()
    runtime = KubernetesRuntime(connect_with(token, kubeconfig), namespace=kubectl.namespace)
    try:
        with pytest.raises(RuntimeStartError, match="Role") as caught:
            await runtime.start(attempt({"compute": {"a": "1"}}))
        assert (caught.value.error_type, caught.value.code) == (ErrorType.PERMANENT, "not-allowed")
        assert token not in str(caught.value)
    finally:
        await runtime.close()


async def test_credentials_that_expire_are_read_again(attempt, kubectl: Kubectl, kubeconfig):
    """The first client's token is of nobody; the next one is good."""
    tokens = ["expired"]
    made = []

    async def connect() -> Any:
        made.append(None)
        if tokens:
            return await connect_with(tokens.pop(), kubeconfig)()
        from airflow_sop_provider.runtimes.kubernetes import connect_by_environment

        return await connect_by_environment()()

    runtime = KubernetesRuntime(connect, namespace=kubectl.namespace)
    try:
        handle = await runtime.start(attempt({"compute": {"a": "1"}}))
        assert classify(await runtime.wait(handle)) is None
        assert len(made) == 2
        await finish(runtime, kubectl, handle)
    finally:
        await runtime.close()


async def test_two_containers_share_neither_memory_nor_files_nor_connections(runtime, attempt, kubectl):
    """Property 16, on the real thing: one step listens, writes and waits, the other looks for it."""
    quiet = python(
        "import socket, time\n"
        "open('/tmp/secret', 'w').write('mine')\n"
        "s = socket.socket(); s.bind(('127.0.0.1', 7000)); s.listen()\n"
        "print('begin', flush=True); time.sleep(600)\n"
    )
    curious = python(
        "import os, socket\n"
        "print('files', os.path.exists('/tmp/secret'))\n"
        "print('processes', sum(name.isdigit() for name in os.listdir('/proc')) < 10)\n"
        "s = socket.socket(); s.settimeout(2)\n"
        "try: s.connect(('127.0.0.1', 7000)); print('connected')\n"
        "except OSError as error: print('connection', type(error).__name__)\n"
        "print('shared memory', os.listdir('/dev/shm'))\n"
    )
    first = await runtime.start(attempt(quiet))
    await has_begun(runtime, first)
    second = await runtime.start(attempt(curious))
    text = "\n".join([line async for _, line in runtime.logs(second)])
    assert classify(await runtime.wait(second)) is None, text
    for expected in ("files False", "processes True", "connection ConnectionRefusedError", "shared memory []"):
        assert expected in text
    await runtime.stop(first, grace=1)
    await runtime.wait(first)
    await asyncio.gather(runtime.remove(first), runtime.remove(second))


async def test_a_step_gets_no_more_cpu_than_its_limit(runtime, attempt, kubectl):
    """The kernel counts how often a container was throttled."""
    handle = await runtime.start(attempt(BURN, cpu_millis=400))
    text = "\n".join([line async for _, line in runtime.logs(handle)])
    assert classify(await runtime.wait(handle)) is None, text
    assert was_throttled(text), text
    await finish(runtime, kubectl, handle)
