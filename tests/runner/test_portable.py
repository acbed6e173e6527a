"""The runner's copy: started by its own loader, in surroundings that have nothing for it and a lot against it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from airflow_sop_provider.contract import Verdict
from airflow_sop_provider.contract.portable import COPY, INTERPRETER, LOADER, PACKAGES, own_python, start_command
from airflow_sop_provider.runner.portable import copy_runner
from tests.runner.conftest import ROOT, make_assignment

pytestmark = [pytest.mark.skipif(sys.platform != "linux", reason="a Linux loader is copied")]

IMAGE_WITH_A_SHELL = {
    "PATH": "/usr/bin:/bin",
    "LANG": "xx_YY",
    "TOOL_HOME": "/opt/tool",
    # a Python of the image's own, and libraries that are none
    "PYTHONHOME": "/nonexistent",
    "PYTHONPATH": "/nonexistent",
    "LD_LIBRARY_PATH": "/nonexistent",
}
Start = Callable[..., tuple[int, Verdict, list[str]]]


@pytest.fixture(scope="module")
def copied(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that holds a copy."""
    folder = tmp_path_factory.mktemp("copy")
    command = [sys.executable, "-m", "airflow_sop_provider.runner.portable", str(folder)]
    subprocess.run(command, check=True, cwd=ROOT)
    return folder


@pytest.fixture
def start(copied: Path, tmp_path: Path) -> Start:
    """Starts the copy as a runtime does; returns exit code, verdict and output."""

    def run(command: dict[str, Any], more: dict[str, Any] | None = None, **environment: str) -> Any:
        step = {"command": {"image": "tool:1", **command}, **(more or {})}
        (tmp_path / "step.json").write_text(make_assignment(step, inputs={"n": 3}).model_dump_json())
        ours = {"SOP_STEP": str(tmp_path / "step.json"), "SOP_TERMINATION_LOG": str(tmp_path / "termination")}
        done = subprocess.run(
            start_command(str(copied)),
            env={**IMAGE_WITH_A_SHELL, **ours, **environment},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        assert (tmp_path / "termination").exists(), done.stdout + done.stderr
        lines = [json.loads(line)["event"] for line in done.stdout.splitlines()]
        return done.returncode, Verdict.model_validate_json((tmp_path / "termination").read_bytes()), lines

    return run


def shell(script: str, **more: Any) -> dict[str, Any]:
    return {"command": ["sh", "-c", script], **more}


def test_a_command_runs_under_the_whole_contract(start: Start) -> None:
    code, verdict, lines = start(
        shell('echo "hello $WHO"; echo "{\\"n\\": $1}" > "$SOP_OUTPUTS"', args=["x", "{{ inputs.n * 2 }}"],
              env={"WHO": "{{ inputs.n }}"}),
        {"when": "inputs.n > 1", "outputs": {"type": "object", "required": ["n"]}},
    )  # fmt: skip
    assert (code, verdict.status, verdict.outputs) == (0, "succeeded", {"n": 6})
    assert "hello 3" in lines
    assert verdict.usage.peak_memory_bytes


@pytest.mark.parametrize(
    ("script", "more", "code", "status"),
    [
        ("exit 75", {}, 75, "failed"),
        ("exit 65", {}, 65, "failed"),
        ("kill -9 $$", {}, 137, "failed"),
        ("exit 1", {"when": "inputs.n > 5"}, 0, "skipped"),
        ("true", {"outputs": {"required": ["a"]}}, 65, "failed"),
    ],
)
def test_its_ends_are_those_of_every_step(start: Start, script: str, more: Any, code: int, status: str) -> None:
    seen, verdict, _ = start(shell(script), more)
    assert (seen, verdict.status) == (code, status)


def test_the_program_has_the_images_variables_and_none_of_ours(start: Start) -> None:
    _, verdict, _ = start(
        shell('env -0 | tr "\\0\\n" ",;" | sed "s/.*/\\"&\\"/" > "$SOP_OUTPUTS"'), SOP_SECRET="hunter2"
    )
    names = dict(part.partition("=")[::2] for part in verdict.outputs.rstrip(";,").split(","))
    assert {name: names.get(name) for name in IMAGE_WITH_A_SHELL} == IMAGE_WITH_A_SHELL
    assert {name for name in names if name.startswith("SOP_")} == {"SOP_OUTPUTS"}


def test_python_in_a_step_is_the_images_and_never_the_copys(start: Start, tmp_path: Path) -> None:
    code, verdict, _ = start({"command": ["python"]}, PATH=str(tmp_path))
    assert (code, verdict.error and verdict.error.code) == (78, "command-not-found")


@pytest.mark.parametrize(
    ("command", "outputs"),
    [
        ({}, "entry of the image"),
        ({"args": ["given"]}, "entry given"),
        ({"command": ["sh", "-c", 'echo \'"own"\' > "$SOP_OUTPUTS"']}, "own"),
    ],
)
def test_without_a_command_the_image_says_what_to_start(start: Start, command: Any, outputs: str) -> None:
    entry = ["sh", "-c", 'echo "\\"entry $*\\"" > "$SOP_OUTPUTS"', "sh"]
    known = json.dumps({"entrypoint": entry, "cmd": ["of", "the", "image"]})
    assert start(command, SOP_IMAGE_PROGRAM=known)[1].outputs == outputs


def test_where_nobody_knows_what_the_image_would_start_the_remedy_is_named(start: Start) -> None:
    code, verdict, _ = start({})
    assert verdict.error is not None
    assert (code, verdict.error.code) == (78, "entry-point-unknown")
    assert "command.command" in verdict.error.message


def test_the_copy_brings_its_own_libraries_and_no_client_of_the_fleet(copied: Path) -> None:
    copy = copied / COPY
    probe = "import ctypes, ssl, sys, hashlib, sqlite3; print(sys.prefix); print(open('/proc/self/maps').read())"
    said = subprocess.run(
        [*own_python(str(copy)), "-I", "-S", "-c", probe], env={}, capture_output=True, text=True, check=True
    ).stdout
    assert said.splitlines()[0] == str((copy / INTERPRETER).parents[1])
    mapped = {line.split(maxsplit=5)[5] for line in said.splitlines()[1:] if ".so" in line}
    assert mapped
    assert {path for path in mapped if not path.startswith(str(copy))} == set()
    assert not {"mcp", "airflow", "pytest"} & {path.name for path in (copy / PACKAGES).iterdir()}


def test_a_copy_is_made_once_and_whole(copied: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = (copied / COPY / LOADER).stat().st_ino
    assert copy_runner(copied) == copied / COPY
    assert (copied / COPY / LOADER).stat().st_ino == before

    def fails(*_: object) -> None:
        raise OSError("the disk is full")

    monkeypatch.setattr("airflow_sop_provider.runner.portable._copy_packages", fails)
    with pytest.raises(OSError, match="the disk is full"):
        copy_runner(tmp_path)
    assert os.listdir(tmp_path) == []
