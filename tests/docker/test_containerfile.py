"""The Containerfile, really built: on Debian's Python as `make image` has it, with wheels for a registry.

pip and the wheels come from this host, mounted into the first stage only; nothing is pulled.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from airflow_sop_provider.contract import Verdict
from tests.docker.conftest import PODMAN_CONFIG
from tests.runner.conftest import make_assignment
from tools.cluster.image_archive import write_archive
from tools.cluster.layout import Layout
from tools.cluster.runner_image import EXTRA, debian_layer, runner_config
from tools.dev.environment import ROOT

pytestmark = [pytest.mark.xdist_group("docker"), pytest.mark.docker, pytest.mark.slow, pytest.mark.timeout(1200)]

BASE = "localhost/debian-python:test"
BUILT = "localhost/runner-of-containerfile:test"
LOOKED_FOR = "/usr/local/lib/python3.11/dist-packages"
Podman = Callable[..., str]


@pytest.fixture(scope="module")
def podman() -> Iterator[Podman]:
    """Podman with a store of its own, gone afterwards."""
    assert shutil.which("podman"), "a container engine that builds is needed: install podman"
    home = Path("/tmp") / f"sop-build-{os.getpid()}"
    home.mkdir(mode=0o700)
    (home / "containers.conf").write_text(PODMAN_CONFIG)
    environment = {**os.environ, "CONTAINERS_CONF": str(home / "containers.conf"), "TMPDIR": str(home)}

    def call(*arguments: str, code: int = 0) -> str:
        command = ["podman", "--root", str(home / "root"), "--runroot", str(home / "run"), *arguments]
        done = subprocess.run(command, env=environment, cwd=home, capture_output=True, text=True, check=False)
        assert done.returncode == code, f"{' '.join(arguments[:2])}: {done.stdout[-3000:]}{done.stderr[-3000:]}"
        return done.stdout

    try:
        yield call
    finally:
        call("rm", "--all", "--force")
        subprocess.run(["umount", "--recursive", str(home / "root" / "overlay")], check=False, capture_output=True)
        shutil.rmtree(home, ignore_errors=True)


@pytest.fixture(scope="module")
def pip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with pip, and in it the wheels that the Containerfile asks pip for."""
    folder = tmp_path_factory.mktemp("pip")
    uv = Path(sys.executable).with_name("uv")
    target = ["--quiet", "--python", sys.executable, "--target", str(folder)]
    subprocess.run([str(uv), "pip", "install", *target, "pip"], check=True)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    wanted = [*project["project"]["dependencies"], *project["project"]["optional-dependencies"][EXTRA]]
    download = [sys.executable, "-m", "pip", "download", "--quiet", "--dest", str(folder / "wheels")]
    pinned = ["--constraint", str(ROOT / "constraints.txt")]
    environment = {**os.environ, "PYTHONPATH": str(folder)}
    subprocess.run([*download, *pinned, *wanted, *project["build-system"]["requires"]], env=environment, check=True)
    return folder


@pytest.fixture(scope="module")
def built(podman: Podman, pip: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The image's name."""
    folder = tmp_path_factory.mktemp("base")
    base, configuration = folder / "base.tar", folder / "pip.conf"
    write_archive(base, [debian_layer(Layout.default().cache / "images")], {"Env": runner_config()["Env"]}, [BASE])
    podman("load", "--input", str(base))
    configuration.write_text(f"[global]\nno-index = true\nfind-links = {LOOKED_FOR}/wheels\n")
    mounts = [f"--volume={pip}:{LOOKED_FOR}:ro", f"--volume={configuration}:/etc/pip.conf:ro"]
    podman(
        "build", "--network=none", "--pull=never", f"--build-arg=BASE={BASE}", *mounts, f"--tag={BUILT}",
        f"--file={ROOT / 'Containerfile'}", str(ROOT),
    )  # fmt: skip
    return BUILT


def test_its_config_is_that_of_make_image(podman: Podman, built: str) -> None:
    (found,) = json.loads(podman("image", "inspect", built))
    expected = runner_config()
    config = {name: found["Config"].get(name) for name in ("User", "WorkingDir", "Entrypoint")}
    assert config == {name: expected[name] for name in config}
    assert set(expected["Env"]) == set(found["Config"]["Env"])  # type: ignore[call-overload]
    assert not found["Config"].get("Cmd")


def test_it_carries_out_a_step_without_rights_and_without_a_place_to_write(podman: Podman, built: str) -> None:
    folder = Path("/tmp") / f"sop-step-{os.getpid()}"
    folder.mkdir(mode=0o755)
    try:
        (folder / "out").mkdir()
        os.chown(folder / "out", 65532, 65532)
        (folder / "assignment.json").write_text(make_assignment({"compute": {"answer": "6 * 7"}}).model_dump_json())
        (folder / "assignment.json").chmod(0o444)
        podman(
            "run", "--rm", "--network=none", "--read-only", "--read-only-tmpfs=false", "--cap-drop=all",
            "--security-opt=no-new-privileges", f"--volume={folder}:/run/sop",
            "--env=SOP_STEP=/run/sop/assignment.json", "--env=SOP_VERDICT=/run/sop/out/verdict.json", built,
        )  # fmt: skip
        verdict = Verdict.model_validate_json((folder / "out" / "verdict.json").read_bytes())
    finally:
        shutil.rmtree(folder)
    assert (verdict.status, verdict.outputs) == ("succeeded", {"answer": 42})


def test_it_holds_the_runner_and_no_airflow(podman: Podman, built: str) -> None:
    program = (
        "import importlib.util as u;"
        "print(*[name for name in ('airflow', 'google', 'pip', 'mcp', 'airflow_sop_provider') if u.find_spec(name)])"
    )
    said = podman("run", "--rm", "--network=none", "--entrypoint=python", built, "-c", program)
    assert said.split() == ["mcp", "airflow_sop_provider"]
