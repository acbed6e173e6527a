"""Steps that name an image, on a real cluster: the image has a shell and nothing else, the contract is every step's.

The image is given to the node of `make cluster`; another cluster has to have it, then SOP_FOREIGN_IMAGE names it.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from typing import Any

import pytest

from airflow_sop_provider.contract import ErrorType
from airflow_sop_provider.engine.failures import classify
from airflow_sop_provider.operators.pod_token import TOKEN_FOLDER
from airflow_sop_provider.runtimes import AttemptSpec
from airflow_sop_provider.runtimes.kubernetes import KubernetesRuntime
from tests.kubernetes.conftest import Kubectl
from tests.kubernetes.killing import cluster_is_ours
from tests.kubernetes.test_runtime import finish, said
from tests.runtimes.foreign_image import FOREIGN, write_foreign_image
from tools.cluster.layout import Layout
from tools.cluster.node import ctr
from tools.cluster.problems import call

GIVEN = os.environ.get("SOP_FOREIGN_IMAGE")

pytestmark = [
    pytest.mark.kubernetes,
    pytest.mark.timeout(600),
    pytest.mark.skipif(not GIVEN and not cluster_is_ours(), reason="the cluster has no image of the test's"),
]

Attempt = Callable[..., AttemptSpec]


@pytest.fixture(scope="module")
def image(kubeconfig: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Name of the image, which the node has."""
    if GIVEN:
        return GIVEN
    archive = write_foreign_image(tmp_path_factory.mktemp("image"))
    call(ctr(Layout.default(), "images", "import", str(archive)))
    return FOREIGN


def shell(image: str, script: str, **more: Any) -> dict[str, Any]:
    return {"command": {"image": image, "command": ["/bin/sh", "-c", script], **more}}


async def test_it_runs_in_the_image_and_its_outputs_come_back(
    runtime: KubernetesRuntime, attempt: Attempt, kubectl: Kubectl, image: str
) -> None:
    probe = (
        'echo "python: $(command -v python python3 sop-python)"; echo "tool: $TOOL in $PWD"; echo "step: $SOP_STEP"; '
        'true > /bin/x || echo "root is read-only"; true > /tmp/x && echo "tmp is writable"; '
        'true > /run/sop-runner/x || echo "the copy is read-only"; '
        f'test -s {TOKEN_FOLDER}/token && echo "it has a token for the engine"; '
        'test -e /var/run/secrets/kubernetes.io || echo "and none for the cluster"; '
        'while read -r name value; do case $name in CapEff:|NoNewPrivs:|Uid:) echo "$name" $value;; esac; '
        "done < /proc/self/status; "
        'echo "{\\"n\\": $1}" > "$SOP_OUTPUTS"'
    )
    step = {**shell(image, probe, args=["x", "{{ 6 * 7 }}"]), "outputs": {"required": ["n"]}}
    handle = await runtime.start(attempt(step, engine_url="https://engine.example/sop"))
    outcome = await runtime.wait(handle)
    lines = await said(runtime, handle)
    assert classify(outcome) is None, (outcome, lines)
    assert outcome.verdict is not None
    assert outcome.verdict.outputs == {"n": 42}
    assert outcome.verdict.usage.peak_memory_bytes
    expected = {
        "python: ", "tool: own in /bin", "step: ", "root is read-only", "tmp is writable", "the copy is read-only",
        "it has a token for the engine", "and none for the cluster",
        "CapEff: 0000000000000000", "NoNewPrivs: 1", "Uid: 65532 65532 65532 65532",
    }  # fmt: skip
    assert expected <= set(lines), expected - set(lines)
    await finish(runtime, kubectl, handle)


@pytest.mark.parametrize(
    ("script", "more", "payload", "expected", "code"),
    [
        ("exit 75", {}, {}, ErrorType.TRANSIENT, "command-failed"),
        ("exit 65", {}, {}, ErrorType.PERMANENT, "command-failed"),
        ("true", {"outputs": {"required": ["a"]}}, {}, ErrorType.PERMANENT, "outputs-schema"),
        ("x=x; while :; do x=$x$x; done", {}, {"memory_bytes": 150 * 1024**2}, ErrorType.RESOURCE, None),
        ("while :; do :; done", {}, {"timeout_seconds": 15.0}, ErrorType.RESOURCE, "out-of-time"),
    ],
)
async def test_the_type_of_a_failure(
    runtime: KubernetesRuntime, attempt: Attempt, kubectl: Kubectl, image: str,
    script: str, more: Any, payload: Any, expected: ErrorType, code: str | None,
) -> None:  # fmt: skip
    handle = await runtime.start(attempt({**shell(image, script), **more}, **payload))
    failure = classify(await runtime.wait(handle))
    assert failure is not None
    assert (failure.type, code or failure.code) == (expected, failure.code), (failure, await said(runtime, handle))
    await finish(runtime, kubectl, handle)


async def test_the_copy_does_not_use_up_the_steps_own_temporary_files(
    runtime: KubernetesRuntime, attempt: Attempt, kubectl: Kubectl, image: str
) -> None:
    handle = await runtime.start(attempt(shell(image, "echo x > /tmp/x"), ephemeral_storage_bytes=1024**2))
    outcome = await runtime.wait(handle)
    assert classify(outcome) is None, outcome
    await finish(runtime, kubectl, handle)


async def test_without_a_command_the_remedy_is_named(
    runtime: KubernetesRuntime, attempt: Attempt, kubectl: Kubectl, image: str
) -> None:
    handle = await runtime.start(attempt({"command": {"image": image}}))
    failure = classify(await runtime.wait(handle))
    assert failure is not None
    assert (failure.type, failure.code) == (ErrorType.PERMANENT, "entry-point-unknown")
    assert "command.command" in failure.message
    await finish(runtime, kubectl, handle)


async def test_stop_ends_it(runtime: KubernetesRuntime, attempt: Attempt, kubectl: Kubectl, image: str) -> None:
    handle = await runtime.start(attempt(shell(image, "echo begin; while :; do :; done")))
    async for _, line in runtime.logs(handle):
        if "begin" in line:
            break
    waiting = asyncio.create_task(runtime.wait(handle))
    await runtime.stop(handle, grace=2)
    assert (await waiting).stopped
    await finish(runtime, kubectl, handle)


async def test_an_image_that_cannot_be_had_fails_for_good(
    runtime: KubernetesRuntime, attempt: Attempt, kubectl: Kubectl
) -> None:
    spec = attempt(shell("localhost/there-is-none:1", "true"))
    assert spec.pod is not None
    spec.pod["spec"]["containers"][0]["imagePullPolicy"] = "Never"
    handle = await runtime.start(spec)
    failure = classify(await runtime.wait(handle))
    assert failure is not None
    assert (failure.type, failure.code) == (ErrorType.PERMANENT, "bad-container"), failure
    await finish(runtime, kubectl, handle)
