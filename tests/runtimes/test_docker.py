"""The Docker runtime against a server that answers as an engine does; `tests/docker` has a real one."""

from __future__ import annotations

import asyncio
import io
import json
import tarfile
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from airflow_sop_provider.contract import ErrorType, Verdict
from airflow_sop_provider.contract.portable import RUNNER_FOLDER, start_command
from airflow_sop_provider.engine.failures import classify
from airflow_sop_provider.runtimes import (
    AttemptSpec,
    RuntimeFailedError,
    RuntimeSettings,
    RuntimeStartError,
    RuntimeStateError,
    choose_runtime,
    open_runtime,
)
from airflow_sop_provider.runtimes.base import MANAGED_BY
from airflow_sop_provider.runtimes.docker import DockerRuntime, connect_to_engine, engine_address
from airflow_sop_provider.runtimes.docker_container import config_of, files_of, outcome_of
from airflow_sop_provider.runtimes.docker_logs import whole_lines
from tests.runtimes.fake_engine import IMAGE, FakeEngine
from tests.runtimes.helpers import until

DONE = Verdict(status="succeeded", outputs={"a": 1}).model_dump_json().encode()
SPEC = AttemptSpec(
    name="sop-a",
    argv=("/here/bin/python", "-m", "runner"),
    files={"assignment.json": b"{}", "fleet.yaml": b"x"},
    memory_bytes=1000,
    cpu_millis=250,
    timeout_seconds=60.0,
    labels={"sop": "s", "execution": "manual__2026-01-01T00:00:00+00:00"},
)


@pytest.fixture
async def engine(tmp_path):
    async with FakeEngine(tmp_path / "engine.sock") as engine:
        yield engine


@pytest.fixture
async def runtime(engine):
    runtime = DockerRuntime(connect_to_engine(engine.address), image=IMAGE)
    yield runtime
    await runtime.close()


def only(engine):
    (container,) = engine.containers.values()
    return container


async def test_an_attempt_from_start_to_removal(runtime, engine):
    handle = await runtime.start(SPEC)
    assert (handle.name, handle.state, handle.adopted) == ("sop-a", "running", False)
    assert dict(handle.labels) == dict(SPEC.labels)
    waiting = asyncio.create_task(runtime.wait(handle))
    only(engine).end(verdict=DONE)
    outcome = await waiting
    assert (classify(outcome), outcome.verdict.outputs, outcome.exit_code) == (None, {"a": 1}, 0)
    await runtime.remove(handle)
    await runtime.remove(handle)
    assert engine.containers == {}


def test_what_a_container_is_made_of():
    config = config_of(SPEC, image=IMAGE, network="none")
    host = config["HostConfig"]
    assert config["Entrypoint"] == ["python", "-m", "runner"], "the image's Python, not this host's"
    assert config["User"] == "65532:65532"
    assert "SOP_STEP=/run/sop/assignment.json" in config["Env"]
    assert "SOP_FLEET=/run/sop/fleet.yaml" in config["Env"]
    assert (host["Memory"], host["MemorySwap"], host["NanoCpus"]) == (1000, 1000, 250_000_000)
    assert (host["ReadonlyRootfs"], host["CapDrop"], host["NetworkMode"]) == (True, ["ALL"], "none")
    with tarfile.open(fileobj=io.BytesIO(files_of(SPEC))) as tar:
        found = {one.name: (oct(one.mode), one.uid) for one in tar.getmembers()}
    assert found == {"out": ("0o700", 65532), "assignment.json": ("0o400", 65532), "fleet.yaml": ("0o400", 65532)}


async def test_a_second_start_adopts(runtime, engine):
    first, second = await runtime.start(SPEC), await runtime.start(SPEC)
    assert (second.uid, second.adopted) == (first.uid, True)
    with pytest.raises(RuntimeStateError, match="still runs"):
        await runtime.remove(first)
    (found,) = await runtime.find()
    assert found.uid == first.uid


@pytest.mark.parametrize("status", [409, 500], ids=["Docker's", "Podman's"])
async def test_one_that_another_starter_creates_and_then_dies(runtime, engine, monkeypatch, status):
    monkeypatch.setattr("airflow_sop_provider.runtimes.docker._OTHER_STARTER_PAUSE_SECONDS", 0.01)
    engine.fails["json"] = [404]  # not there when we look
    engine.taken = status
    await runtime._engine.containers.create(config_of(SPEC, image=IMAGE, network="none"), name=SPEC.name)
    assert (await runtime.start(SPEC)).state == "running"
    assert only(engine).files == files_of(SPEC)


@pytest.mark.parametrize("status", [409, 500], ids=["Docker's", "Podman's"])
async def test_one_that_another_starter_is_starting_is_left_to_it(runtime, engine, status):
    engine.fails["json"] = [404, 404]  # nor right after we heard that the name is taken
    engine.taken = status
    other = runtime._engine.containers
    container = await other.create(config_of(SPEC, image=IMAGE, network="none"), name=SPEC.name)
    ours = asyncio.create_task(runtime.start(SPEC))
    while engine.fails["json"]:  # noqa: ASYNC110  # the fake has no event for it
        await asyncio.sleep(0.01)
    await container.start()
    assert (await ours).state == "running"
    assert only(engine).files == b"", "its starter's business"


@pytest.mark.parametrize(
    ("path", "status", "error_type", "code"),
    [
        ("create", 500, ErrorType.TRANSIENT, "runtime-api"),
        ("create", 400, ErrorType.PERMANENT, "bad-container"),
        ("start", 400, ErrorType.PERMANENT, "bad-container"),
        ("archive", 500, ErrorType.TRANSIENT, "runtime-api"),
    ],
)
async def test_a_start_that_fails_leaves_nothing(runtime, engine, path, status, error_type, code):
    engine.fails[path] = [status]
    with pytest.raises(RuntimeStartError, match="as the test wants it") as caught:
        await runtime.start(SPEC)
    assert (caught.value.error_type, caught.value.code) == (error_type, code)
    assert engine.containers == {}


async def test_a_missing_image_is_named(runtime, engine):
    engine.images.clear()
    with pytest.raises(RuntimeStartError, match=f"no image {IMAGE}.*make image") as caught:
        await runtime.start(SPEC)
    assert caught.value.error_type is ErrorType.PERMANENT


OTHER = "registry.invalid/tool:1"
IN_IMAGE = AttemptSpec(
    name="sop-b", argv=("/here/python", "-m", "runner"), files={"assignment.json": b"{}"}, image=OTHER
)


async def test_a_step_with_an_image_runs_in_it_with_a_copy_of_the_runner(runtime, engine):
    engine.images.add(OTHER)
    engine.programs[OTHER] = {"Entrypoint": ["/tool"], "Cmd": ["--all"]}
    handle = await runtime.start(IN_IMAGE)
    container, (copy,) = only(engine), engine.copies
    assert container.config["Image"] == OTHER
    assert container.config["Entrypoint"] == start_command()
    (volume,) = engine.volumes
    assert container.config["HostConfig"]["Binds"] == [f"{volume}:{RUNNER_FOLDER}:ro"]
    environment = dict(one.partition("=")[::2] for one in container.config["Env"])
    assert json.loads(environment["SOP_IMAGE_PROGRAM"]) == {"entrypoint": ["/tool"], "cmd": ["--all"]}
    plain = config_of(replace(IN_IMAGE, image=None), image=IMAGE, network="bridge")
    for limit in ("ReadonlyRootfs", "CapDrop", "SecurityOpt", "PidsLimit", "Tmpfs", "NetworkMode"):
        assert container.config["HostConfig"][limit] == plain["HostConfig"][limit]
    assert container.config["User"] == plain["User"]
    assert (copy.config["Image"], copy.config["HostConfig"]["NetworkMode"]) == (IMAGE, "none")
    assert not MANAGED_BY.items() <= copy.config["Labels"].items(), "it is no attempt"
    container.end(verdict=DONE)
    assert (await runtime.wait(handle)).verdict.outputs == {"a": 1}
    await runtime.remove(handle)
    assert engine.containers == {}


async def test_the_runner_is_copied_once_and_again_when_the_volume_is_gone(runtime, engine):
    engine.images.add(OTHER)
    await asyncio.gather(*(runtime.start(replace(IN_IMAGE, name=f"sop-{number}")) for number in range(4)))
    assert len(engine.copies) == 1
    engine.volumes.clear()
    await runtime.start(replace(IN_IMAGE, name="sop-after"))
    assert len(engine.copies) == 2
    other = DockerRuntime(connect_to_engine(engine.address), image=IMAGE)
    await other.start(replace(IN_IMAGE, name="sop-other"))
    await other.close()
    assert len(engine.copies) == 3, "who has not seen the copy complete looks for himself"


async def test_a_step_without_an_image_needs_no_copy(runtime, engine):
    await runtime.start(SPEC)
    assert (engine.copies, engine.volumes) == ([], set())


async def test_a_steps_image_that_is_not_there_is_named(runtime, engine):
    with pytest.raises(RuntimeStartError, match=rf"no image {OTHER}; pull it there.*step's `image`") as caught:
        await runtime.start(IN_IMAGE)
    assert (caught.value.error_type, caught.value.code) == (ErrorType.PERMANENT, "image-not-found")
    assert engine.containers == {}


async def test_a_copy_that_fails_is_told_with_its_last_words(runtime, engine):
    engine.images.add(OTHER)
    engine.copy_code = 1
    with pytest.raises(RuntimeStartError, match=r"could not be copied.*no space left") as caught:
        await runtime.start(IN_IMAGE)
    assert caught.value.code == "runner-copy"
    assert engine.containers == {}
    engine.copy_code = 0
    assert (await runtime.start(IN_IMAGE)).state == "running"


async def test_an_engine_that_does_not_tell_of_volumes(runtime, engine):
    engine.images.add(OTHER)
    await runtime.start(IN_IMAGE)
    (volume,) = engine.volumes
    engine.fails[volume] = [500]
    with pytest.raises(RuntimeStartError) as caught:
        await runtime.start(replace(IN_IMAGE, name="sop-c"))
    assert caught.value.error_type is ErrorType.TRANSIENT


async def test_an_engine_that_is_away(tmp_path):
    runtime = DockerRuntime(connect_to_engine(f"unix://{tmp_path / 'none.sock'}"), image=IMAGE)
    try:
        with pytest.raises(RuntimeStartError) as caught:
            await runtime.start(SPEC)
        assert caught.value.error_type is ErrorType.TRANSIENT
        with pytest.raises(RuntimeStateError):
            await runtime.find()
    finally:
        await runtime.close()


async def test_waiting_survives_an_engine_that_fails(runtime, engine, monkeypatch):
    monkeypatch.setattr("airflow_sop_provider.runtimes.docker._AWAY_PAUSE_SECONDS", 0.01)
    handle = await runtime.start(SPEC)
    engine.fails |= {"json": [500, 503], "wait": [500]}
    waiting = asyncio.create_task(runtime.wait(handle))
    await until(lambda: not any(engine.fails.values()))
    engine.fails["archive"] = [500]
    only(engine).end(verdict=DONE)
    assert (await waiting).verdict.outputs == {"a": 1}


async def test_stop(runtime, engine):
    handle = await runtime.start(SPEC)
    await runtime.stop(handle, grace=0.5)
    outcome = await runtime.wait(handle)
    assert (outcome.stopped, outcome.oom, outcome.timed_out) == (True, False, False)
    await runtime.remove(handle)
    await runtime.stop(handle, grace=0.5)  # gone: nothing to do
    engine.fails["stop"] = [500]
    with pytest.raises(RuntimeStateError, match="could not be stopped"):
        await runtime.stop(handle, grace=0.5)


async def test_a_removal_that_fails_is_said(runtime, engine):
    handle = await runtime.start(SPEC)
    only(engine).end()
    engine.fails[handle.uid] = [500]
    with pytest.raises(RuntimeStateError, match="could not be removed"):
        await runtime.remove(handle)


async def test_its_time_is_over(runtime, engine):
    handle = await runtime.start(AttemptSpec(name="late", argv=("python",), timeout_seconds=0.2))
    outcome = await runtime.wait(handle)
    assert (outcome.timed_out, only(engine).stops) == (True, 1)
    assert classify(outcome).code == "out-of-time"


async def test_a_container_that_vanished_is_a_crash(runtime, engine):
    handle = await runtime.start(SPEC)
    waiting = asyncio.create_task(runtime.wait(handle))
    container = only(engine)
    del engine.containers["sop-a"]
    container.over.set()
    assert classify(await waiting).type is ErrorType.CRASH
    assert [line async for line in runtime.logs(handle)] == []


@pytest.mark.parametrize(
    ("engine_name", "oom", "expected"),
    [("Engine", True, "resource"), ("Engine", False, "crash"), ("Podman Engine", False, "resource")],
)
async def test_who_tells_of_memory(runtime, engine, engine_name, oom, expected):
    engine.engine = engine_name
    handle = await runtime.start(SPEC)
    only(engine).end(137, oom=oom)
    assert classify(await runtime.wait(handle)).type == expected


async def test_what_a_killed_runner_had_recorded_comes_back(runtime, engine):
    handle = await runtime.start(SPEC)
    container = only(engine)
    container.events = b'{"seq":1,"event":"action","step":"x"}\n{"seq":2,"ev'
    container.end(code=137)
    assert (await runtime.wait(handle)).recorded == ({"seq": 1, "event": "action"},)


@pytest.mark.parametrize(
    ("verdict", "said"),
    [
        (b"no JSON", "verdict.json: Invalid JSON"),
        (b'{"status": "succeeded", "colour": 1}', "verdict.json: colour: Extra inputs"),
    ],
)
async def test_a_verdict_that_cannot_be_read_is_not_called_missing(runtime, engine, verdict, said):
    handle = await runtime.start(SPEC)
    only(engine).end(verdict=verdict)
    failure = classify(await runtime.wait(handle))
    assert (failure.code, said in failure.message) == ("bad-verdict", True), failure.message


def test_an_outcome_by_a_limit_that_an_earlier_executor_enforced():
    begin = datetime(2026, 1, 1, tzinfo=UTC)
    state = {"Status": "exited", "ExitCode": 143, "StartedAt": begin.isoformat(), "Error": "said"}
    container = {
        "Id": "1" * 64,
        "Name": "/a",
        "State": {**state, "FinishedAt": (begin + timedelta(seconds=61)).isoformat()},
        "Config": {"Labels": {"airflow-sop-provider/timeout-seconds": "60"}},
    }
    outcome = outcome_of(container, None)
    assert (outcome.timed_out, outcome.signal, outcome.evidence["message"]) == (True, 15, "said")


async def test_output_comes_once_and_goes_on_after_a_break(runtime, engine, monkeypatch):
    monkeypatch.setattr("airflow_sop_provider.runtimes.docker._AWAY_PAUSE_SECONDS", 0.01)
    handle = await runtime.start(SPEC)
    container = only(engine)
    stamps = ["2026-01-01T00:00:01.000000001Z", "2026-01-01T00:00:01.000000001Z", "2026-01-01T00:00:02.5Z"]
    container.output += [(stamp, f"line {number}\n") for number, stamp in enumerate(stamps)]
    engine.fails["logs"] = [500]
    container.end(verdict=DONE)
    read = [item async for item in runtime.logs(handle)]
    assert [line for _, line in read] == ["line 0", "line 1", "line 2"]
    assert [line async for _, line in runtime.logs(handle, read[0][0])] == ["line 1", "line 2"]
    engine.fails["logs"] = [400]
    assert [line async for _, line in runtime.logs(handle)] == []


async def test_pieces_of_long_lines_are_put_together():
    async def frames():
        yield "2026-01-01T00:00:01Z begin "
        yield "2026-01-01T00:00:01Z middle "
        yield "2026-01-01T00:00:02Z end\r\n"
        yield "no time\n"
        yield "2026-01-01T00:00:03Z never ended"

    assert [line async for _, line in whole_lines(frames())] == ["begin middle end", "no time", "never ended"]


# -- choosing --------------------------------------------------------------------------------------


@pytest.fixture
def alone(monkeypatch, tmp_path):
    """A host with neither cluster nor engine."""
    for name in ("KUBECONFIG", "KUBERNETES_SERVICE_HOST", "DOCKER_HOST"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr("airflow_sop_provider.runtimes.docker._SOCKETS", ())
    return tmp_path


async def chosen(order, folder, **values):
    return await choose_runtime(order, RuntimeSettings(work_folder=folder, image=IMAGE, **values))


async def test_the_first_that_is_there_is_taken_and_said_why(alone, engine, monkeypatch):
    order = ("kubernetes", "docker", "local")
    choice = await chosen(order, alone)
    assert choice.name == "local"
    assert "not kubernetes: no cluster is configured" in choice.reason
    assert "not docker: no container engine runs here" in choice.reason
    monkeypatch.setenv("DOCKER_HOST", engine.address)
    assert (await chosen(order, alone)).name == "docker"
    engine.images.clear()
    assert "has no image" in (await chosen(order, alone)).reason
    engine.fails["version"] = [500]
    assert "cannot be used" in (await chosen(order, alone)).reason
    (alone / ".kube").mkdir()
    (alone / ".kube" / "config").write_text("")
    assert (await chosen(order, alone)).name == "kubernetes"
    assert (await chosen(("docker", "local"), alone)).name == "local"
    monkeypatch.setenv("KUBECONFIG", "/somewhere")
    assert "KUBECONFIG names /somewhere" in (await chosen(order, alone)).reason


async def test_in_a_cluster(alone, monkeypatch):
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    (alone / "token").write_text("x")
    monkeypatch.setattr("airflow_sop_provider.runtimes.select._SERVICE_ACCOUNT", alone / "token")
    assert (await chosen(("kubernetes", "local"), alone)).name == "kubernetes"


async def test_a_single_one_is_taken_without_a_look_and_none_is_an_error(alone):
    assert (await chosen(("docker",), alone)).name == "docker"
    with pytest.raises(RuntimeFailedError, match="none of the runtimes"):
        await chosen(("kubernetes", "docker"), alone)
    with pytest.raises(RuntimeFailedError, match="unknown runtime"):
        await chosen(("dcoker", "local"), alone)


async def test_an_engine_that_does_not_answer_is_passed_over(alone, monkeypatch):
    async def silent(reader, writer):
        await asyncio.sleep(60)

    socket = alone / "silent.sock"
    server = await asyncio.start_unix_server(silent, str(socket))
    monkeypatch.setenv("DOCKER_HOST", f"unix://{socket}")
    monkeypatch.setattr("airflow_sop_provider.runtimes.select._ENGINE_SECONDS", 0.2)
    assert "does not answer" in (await chosen(("docker", "local"), alone)).reason
    server.close()


async def test_it_is_opened_by_name(alone, engine, monkeypatch):
    assert engine_address() is None
    monkeypatch.setenv("DOCKER_HOST", engine.address)
    assert engine_address() == engine.address
    runtime = open_runtime("docker", RuntimeSettings(work_folder=alone, image=IMAGE))
    assert (runtime.name, await runtime.find()) == ("docker", [])
    await runtime.close()


async def test_an_engine_over_tcp():
    await connect_to_engine("tcp://127.0.0.1:9").close()
