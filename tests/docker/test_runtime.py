"""The Docker runtime on a real engine: the contract of every runtime, limits, and that nothing is left behind."""

from __future__ import annotations

import asyncio
import json

import pytest

from airflow_sop_provider.contract import ErrorType
from airflow_sop_provider.engine.failures import classify
from airflow_sop_provider.runtimes import Handle, RuntimeSettings, RuntimeStartError, RuntimeStateError, choose_runtime
from airflow_sop_provider.runtimes.docker import DockerRuntime, connect_to_engine
from tests.runtimes.steps import BURN, python, shell, was_throttled
from tools.cluster.runner_image import runner_tag

pytestmark = [pytest.mark.docker, pytest.mark.timeout(600)]


async def said(runtime: DockerRuntime, handle: Handle, offset: int = 0) -> list[str]:
    """What the step's own program printed."""
    events = []
    async for _, line in runtime.logs(handle, offset):
        try:
            events.append(str(json.loads(line)["event"]))
        except (ValueError, KeyError, TypeError):
            events.append(line)
    return events


async def finish(runtime: DockerRuntime, handle: Handle) -> None:
    """Remove the attempt, twice, and see that nothing of it is left."""
    await runtime.remove(handle)
    await runtime.remove(handle)
    assert await runtime.find() == []
    volumes = await runtime._engine.volumes.list()
    assert not volumes["Volumes"], "its files are gone with it"


async def test_a_step_runs_in_a_container_and_its_outputs_come_back(runtime, attempt):
    handle = await runtime.start(attempt({"compute": {"numbers": "range(20000) | list"}}))
    assert (handle.state, handle.adopted) in (("running", False), ("ended", False))
    outcome = await runtime.wait(handle)
    assert classify(outcome) is None, (outcome, await said(runtime, handle))
    assert outcome.verdict.outputs == {"numbers": list(range(20000))}
    assert outcome.usage.peak_memory_bytes > 0
    assert outcome.started_at < outcome.ended_at
    await finish(runtime, handle)


async def test_two_starts_are_one_container_and_another_runtime_finds_it(runtime, attempt, address):
    spec = attempt(shell("sleep 600"))
    first = await runtime.start(spec)
    other = DockerRuntime(connect_to_engine(address), image=runner_tag(), network="none")
    try:
        second = await other.start(spec)
        assert (second.uid, second.adopted, second.state) == (first.uid, True, "running")
        (found,) = await other.find()
        assert (found.name, dict(found.labels)) == (spec.name, dict(spec.labels))
        with pytest.raises(RuntimeStateError, match="still runs"):
            await other.remove(found)
        await other.stop(found, grace=1)
        assert (await other.wait(found)).stopped
    finally:
        await other.close()
    assert classify(await runtime.wait(first)).type is ErrorType.CRASH
    await finish(runtime, first)


async def test_starts_at_once_are_one_container(runtime, attempt):
    spec = attempt(shell("echo once"))
    handles = await asyncio.gather(*(runtime.start(spec) for _ in range(4)), return_exceptions=True)
    started = [handle for handle in handles if isinstance(handle, Handle)]
    assert len({handle.uid for handle in started}) == 1, handles
    assert classify(await runtime.wait(started[0])) is None
    assert (await said(runtime, started[0])).count("once") == 1
    await finish(runtime, started[0])


async def test_one_that_was_created_and_never_started_is_started(runtime, attempt):
    """A starter may die in between."""
    from airflow_sop_provider.runtimes.docker_container import config_of

    spec = attempt({"compute": {"a": "1"}})
    await runtime._engine.containers.create(config_of(spec, image=runner_tag(), network="none"), name=spec.name)
    (left,) = await runtime.find()
    assert (left.state, left.uid) == ("created", "")
    handle = await runtime.start(spec)
    assert (await runtime.wait(handle)).verdict.outputs == {"a": 1}
    await finish(runtime, handle)


async def test_a_container_may_do_nothing_it_need_not(runtime, attempt):
    probe = (
        "import os\n"
        "print('uid', os.getuid())\n"
        "print('capabilities', [l for l in open('/proc/self/status') if l.startswith('CapEff')][0].split()[1])\n"
        "print('privileges', [l for l in open('/proc/self/status') if l.startswith('NoNewPrivs')][0].split()[1])\n"
        "try: open('/etc/x', 'w'); print('root is writable')\n"
        "except OSError as error: print('root', error.errno)\n"
        "open('/tmp/x', 'w'); print('tmp is writable')\n"
        "print('interfaces', os.listdir('/sys/class/net'))\n"
    )
    handle = await runtime.start(attempt(python(probe)))
    outcome = await runtime.wait(handle)
    text = await said(runtime, handle)
    assert classify(outcome) is None, text
    for expected in ("uid 65532", "capabilities 0000000000000000", "privileges 1", "root 30", "tmp is writable"):
        assert expected in text, (expected, text)
    assert "interfaces ['lo']" in text, "network none"
    await finish(runtime, handle)


@pytest.mark.parametrize(
    ("step", "payload", "expected", "code"),
    [
        (shell("exit 75"), {}, ErrorType.TRANSIENT, None),
        (shell("exit 65"), {}, ErrorType.PERMANENT, None),
        (shell("exit 3"), {}, ErrorType.CRASH, None),
        (python("x = bytearray(10**9); print(len(x))"), {"memory_bytes": 150 * 1024**2}, ErrorType.RESOURCE, None),
        (shell("sleep 600"), {"timeout_seconds": 5.0}, ErrorType.RESOURCE, "out-of-time"),
    ],
    ids=["transient", "permanent", "crash", "memory", "time"],
)
async def test_the_type_of_a_failure(runtime, attempt, step, payload, expected, code):
    handle = await runtime.start(attempt(step, **payload))
    outcome = await runtime.wait(handle)
    failure = classify(outcome)
    assert failure is not None
    assert failure.type is expected, (failure, outcome)
    assert code in (None, failure.code)
    await finish(runtime, handle)


async def test_a_step_gets_no_more_cpu_than_its_limit(runtime, attempt):
    handle = await runtime.start(attempt(BURN, cpu_millis=400))
    assert classify(await runtime.wait(handle)) is None
    text = "\n".join(await said(runtime, handle))
    assert was_throttled(text), text
    await finish(runtime, handle)


async def test_two_containers_share_neither_files_nor_processes_nor_connections(runtime, attempt):
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
    async for _, line in runtime.logs(first):
        if "begin" in line and "print" not in line:
            break
    second = await runtime.start(attempt(curious))
    assert classify(await runtime.wait(second)) is None
    text = await said(runtime, second)
    for expected in ("files False", "processes True", "connection ConnectionRefusedError", "shared memory []"):
        assert expected in text, (expected, text)
    await runtime.stop(first, grace=1)
    await runtime.wait(first)
    await runtime.remove(second)
    await finish(runtime, first)


async def test_an_image_that_is_not_there_is_named_with_the_remedy(address, attempt):
    runtime = DockerRuntime(connect_to_engine(address), image="localhost/there-is-none:1", network="none")
    try:
        with pytest.raises(RuntimeStartError, match=r"no image localhost/there-is-none:1.*make image") as caught:
            await runtime.start(attempt({"compute": {"a": "1"}}))
        assert (caught.value.error_type, caught.value.code) == (ErrorType.PERMANENT, "image-not-found")
        assert await runtime.find() == []
    finally:
        await runtime.close()


async def test_an_engine_that_is_away_is_tried_again(tmp_path, attempt):
    runtime = DockerRuntime(connect_to_engine(f"unix://{tmp_path / 'none.sock'}"), image=runner_tag())
    try:
        with pytest.raises(RuntimeStartError) as caught:
            await runtime.start(attempt({"compute": {"a": "1"}}))
        assert (caught.value.error_type, caught.value.code) == (ErrorType.TRANSIENT, "runtime-api")
    finally:
        await runtime.close()


async def test_stop_ends_the_container(runtime, attempt):
    handle = await runtime.start(attempt(shell("echo begin; sleep 600")))
    async for _, line in runtime.logs(handle):
        if "begin" in line:
            break
    waiting = asyncio.create_task(runtime.wait(handle))
    await runtime.stop(handle, grace=2)
    assert (await waiting).stopped
    await finish(runtime, handle)


async def test_a_container_deleted_by_hand_is_a_crash(runtime, attempt):
    handle = await runtime.start(attempt(shell("echo begin; sleep 600")))
    waiting = asyncio.create_task(runtime.wait(handle))
    async for _, line in runtime.logs(handle):
        if "begin" in line:
            break
    await runtime._engine.containers.container(handle.uid).delete(force=True, v=True)
    failure = classify(await waiting)
    assert failure is not None
    assert failure.type is ErrorType.CRASH
    await finish(runtime, handle)


async def test_lines_come_once_and_go_on_where_somebody_stopped_reading(runtime, attempt):
    handle = await runtime.start(attempt(python("for n in range(5000): print(f'line-{n}')")))
    await runtime.wait(handle)
    offsets = []
    async for offset, line in runtime.logs(handle):
        offsets.append((offset, line))
    printed = [line for _, line in offsets if '"event": "line-' in line]
    assert len(printed) == 5000
    middle, _ = offsets[2500]
    assert [line async for _, line in runtime.logs(handle, middle)] == [line for _, line in offsets[2501:]]
    await finish(runtime, handle)


async def test_it_is_chosen_where_its_image_is(address, monkeypatch, tmp_path):
    monkeypatch.delenv("KUBECONFIG", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("DOCKER_HOST", address)
    order = ("kubernetes", "docker", "local")
    choice = await choose_runtime(order, RuntimeSettings(work_folder=tmp_path, image=runner_tag()))
    assert choice.name == "docker"
    assert "not kubernetes: no cluster is configured" in choice.reason
    choice = await choose_runtime(order, RuntimeSettings(work_folder=tmp_path, image="localhost/none:1"))
    assert choice.name == "local"
    assert "no image localhost/none:1" in choice.reason
