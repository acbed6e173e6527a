"""Steps that name an image, on a real engine: the image has a shell and nothing else, the contract is every step's."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from airflow_sop_provider.contract import ErrorType
from airflow_sop_provider.engine.failures import classify
from airflow_sop_provider.runtimes import AttemptSpec, Handle, RuntimeStartError
from airflow_sop_provider.runtimes.docker import DockerRuntime
from tests.runtimes.foreign_image import FOREIGN, write_foreign_image

pytestmark = [pytest.mark.xdist_group("docker"), pytest.mark.docker, pytest.mark.timeout(600)]

Attempt = Callable[..., AttemptSpec]


@pytest.fixture
async def engine(runtime: DockerRuntime, tmp_path: Path) -> AsyncIterator[DockerRuntime]:
    """The runtime, on an engine that has the image; what the engine keeps for it is gone afterwards."""
    with write_foreign_image(tmp_path).open("rb") as archive:
        await runtime._engine.images.import_image(archive)
    yield runtime
    for handle in await runtime.find():
        await runtime.stop(handle, grace=0)
        await runtime.remove(handle)
    await runtime._engine.images.delete(FOREIGN, force=True)
    volumes: Any = runtime._engine.volumes
    for volume in (await volumes.list())["Volumes"]:
        if volume["Name"].startswith("sop-runner-"):
            await (await volumes.get(volume["Name"])).delete()


def shell(script: str, **more: Any) -> dict[str, Any]:
    return {"command": {"image": FOREIGN, "command": ["/bin/sh", "-c", script], **more}}


async def said(runtime: DockerRuntime, handle: Handle) -> list[str]:
    return [str(json.loads(line)["event"]) async for _, line in runtime.logs(handle)]


async def finish(runtime: DockerRuntime, handle: Handle) -> None:
    await runtime.remove(handle)
    assert await runtime.find() == []


async def test_it_runs_in_the_image_and_its_outputs_come_back(engine: DockerRuntime, attempt: Attempt) -> None:
    probe = (
        'echo "python: $(command -v python python3 sop-python)"; echo "usr: $(echo /usr/*)"; '
        'echo "tool: $TOOL in $PWD"; echo "step: $SOP_STEP"; '
        'true > /bin/x || echo "root is read-only"; true > /tmp/x && echo "tmp is writable"; '
        'true > /run/sop-runner/x || echo "the copy is read-only"; '
        'while read -r name value; do case $name in CapEff:|NoNewPrivs:|Uid:) echo "$name" $value;; esac; '
        "done < /proc/self/status; "
        'echo "{\\"n\\": $1}" > "$SOP_OUTPUTS"'
    )
    step = {**shell(probe, args=["x", "{{ 6 * 7 }}"]), "outputs": {"required": ["n"]}}
    handle = await engine.start(attempt(step))
    outcome = await engine.wait(handle)
    lines = await said(engine, handle)
    assert classify(outcome) is None, (outcome, lines)
    assert outcome.verdict is not None
    assert outcome.verdict.outputs == {"n": 42}
    assert outcome.verdict.usage.peak_memory_bytes
    expected = {
        "python: ", "usr: /usr/*", "tool: own in /bin", "step: ", "root is read-only", "tmp is writable",
        "the copy is read-only", "CapEff: 0000000000000000", "NoNewPrivs: 1", "Uid: 65532 65532 65532 65532",
    }  # fmt: skip
    assert expected <= set(lines), expected - set(lines)
    await finish(engine, handle)


async def test_without_a_command_the_images_entry_point_runs(engine: DockerRuntime, attempt: Attempt) -> None:
    for command, told in (({}, "its own"), ({"args": ["{{ 1 + 1 }}"]}, "2")):
        handle = await engine.start(attempt({"command": {"image": FOREIGN, **command}}))
        outcome = await engine.wait(handle)
        assert outcome.verdict is not None, await said(engine, handle)
        assert outcome.verdict.outputs == f"the entry point with {told}"
        await finish(engine, handle)


@pytest.mark.parametrize(
    ("script", "more", "payload", "expected", "code"),
    [
        ("exit 75", {}, {}, ErrorType.TRANSIENT, "command-failed"),
        ("exit 65", {}, {}, ErrorType.PERMANENT, "command-failed"),
        ("echo nonsense > $SOP_OUTPUTS", {}, {}, ErrorType.PERMANENT, "command-outputs"),
        ("true", {"outputs": {"required": ["a"]}}, {}, ErrorType.PERMANENT, "outputs-schema"),
        ("x=x; while :; do x=$x$x; done", {}, {"memory_bytes": 150 * 1024**2}, ErrorType.RESOURCE, None),
        ("while :; do :; done", {}, {"timeout_seconds": 5.0}, ErrorType.RESOURCE, "out-of-time"),
    ],
)
async def test_the_type_of_a_failure(
    engine: DockerRuntime, attempt: Attempt, script: str, more: Any, payload: Any, expected: ErrorType, code: str | None
) -> None:
    handle = await engine.start(attempt({**shell(script), **more}, **payload))
    failure = classify(await engine.wait(handle))
    assert failure is not None
    assert (failure.type, code or failure.code) == (expected, failure.code), (failure, await said(engine, handle))
    await finish(engine, handle)


async def test_a_condition_that_is_false_skips_it(engine: DockerRuntime, attempt: Attempt) -> None:
    handle = await engine.start(attempt({**shell("exit 1"), "when": "1 > 2"}))
    outcome = await engine.wait(handle)
    assert outcome.verdict is not None
    assert outcome.verdict.status == "skipped"
    await finish(engine, handle)


async def test_stop_ends_it(engine: DockerRuntime, attempt: Attempt) -> None:
    handle = await engine.start(attempt(shell("echo begin; while :; do :; done")))
    async for _, line in engine.logs(handle):
        if "begin" in line:
            break
    await engine.stop(handle, grace=2)
    assert (await engine.wait(handle)).stopped
    await finish(engine, handle)


async def test_an_image_that_is_not_there_is_named_with_the_remedy(engine: DockerRuntime, attempt: Attempt) -> None:
    missing = {"command": {"image": "localhost/there-is-none:1", "command": ["run"]}}
    with pytest.raises(RuntimeStartError, match=r"no image localhost/there-is-none:1; pull it there") as caught:
        await engine.start(attempt(missing))
    assert (caught.value.error_type, caught.value.code) == (ErrorType.PERMANENT, "image-not-found")
    assert await engine.find() == []
