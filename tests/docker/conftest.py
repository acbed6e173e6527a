"""A real container engine: the one of DOCKER_HOST, else Podman's service, which speaks the same API, started here."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from airflow_sop_provider.airflow_settings import read_settings
from airflow_sop_provider.contract import Assignment, AttemptKey, StepPayload
from airflow_sop_provider.engine.attempts import attempt_spec
from airflow_sop_provider.runtimes import AttemptSpec
from airflow_sop_provider.runtimes.docker import DockerRuntime, connect_to_engine
from tools.cluster.layout import Layout
from tools.cluster.runner_image import build_runner_image, runner_tag

PODMAN_CONFIG = """\
[containers]
default_ulimits = ["nofile=20000:20000", "nproc=32768:32768"]
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"
"""


@pytest.fixture(scope="session")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of an engine that has the runner's image."""
    if given := os.environ.get("DOCKER_HOST"):
        yield given
        return
    assert shutil.which("podman"), "there is no container engine: set DOCKER_HOST, or install podman"
    # containers' files are mounted below it, and a socket's path is short
    home = Path("/tmp") / f"sop-podman-{os.getpid()}"
    home.mkdir(mode=0o700)
    try:
        yield from _podman(home)
    finally:
        shutil.rmtree(home, ignore_errors=True)


def _podman(home: Path) -> Iterator[str]:
    (home / "containers.conf").write_text(PODMAN_CONFIG)
    environment = {**os.environ, "CONTAINERS_CONF": str(home / "containers.conf")}
    command = ["podman", "--root", str(home / "root"), "--runroot", str(home / "run")]
    archive = build_runner_image(Layout.default().cache / "images")
    subprocess.run([*command, "load", "--input", str(archive)], env=environment, check=True, capture_output=True)
    socket = home / "podman.sock"
    with (home / "log").open("wb") as log:
        service = subprocess.Popen(
            [*command, "system", "service", "--time=0", f"unix://{socket}"],
            cwd=home,  # what watches its containers leaves files there
            env=environment,
            stdout=log,
            stderr=log,
        )
    try:
        while not socket.exists():
            assert service.poll() is None, (home / "log").read_text()
            time.sleep(0.1)
        yield f"unix://{socket}"
    finally:
        subprocess.run(
            [*command, "rm", "--all", "--force", "--time=0"], env=environment, check=False, capture_output=True
        )
        service.terminate()
        service.wait()
        subprocess.run(["umount", "--recursive", str(home / "root" / "overlay")], check=False, capture_output=True)


@pytest.fixture
async def runtime(address: str) -> AsyncIterator[DockerRuntime]:
    runtime = DockerRuntime(connect_to_engine(address), image=runner_tag(), network="none")
    yield runtime
    for handle in await runtime.find():  # of a test that failed
        await runtime.stop(handle, grace=0)
        await runtime.remove(handle)
    await runtime.close()


@pytest.fixture
def attempt() -> Callable[..., AttemptSpec]:
    """Makes an attempt of one step, as the executor makes it."""

    def make(step: dict[str, Any], *, tried: int = 1, **payload: Any) -> AttemptSpec:
        values = {"kind": "step", "sop": "test", "version": "1", "digest": "d", "step": {"id": "a", **step}}
        key = AttemptKey(
            sop="test", run_id=uuid.uuid4().hex, step="a", attempt=tried, task_instance_id=uuid.uuid4().hex
        )
        assignment = Assignment(key=key, payload=StepPayload.model_validate({**values, **payload}))
        return attempt_spec(assignment, read_settings())

    return make
