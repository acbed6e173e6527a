"""`make run` says in one line what is in its way; none of this starts an Airflow."""

import fcntl
import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tools.dev.environment import ROOT


def run(*arguments, python=(sys.executable,), environment=None) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [*python, "-m", "tools.dev.run", *map(str, arguments)],
        cwd=ROOT, env={**os.environ, **(environment or {})}, capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_a_port_in_use(tmp_path):
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = listener.getsockname()[1]
        done = run("--home", tmp_path / "home", "--port", port)
    assert done.returncode == 1
    [line] = done.stderr.splitlines()
    assert line.startswith(f"sop: port {port} is in use by another program: ")
    assert "make run PORT=" in line


def test_a_folder_in_use(tmp_path):
    with (tmp_path / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        lock.write("4711 http://127.0.0.1:8080")
        lock.flush()
        done = run("--home", tmp_path)
    assert done.returncode == 1
    [line] = done.stderr.splitlines()
    assert re.search(r"in use by another `make run` \(process 4711, .*stop that one first", line)


def test_an_incomplete_environment(tmp_path):
    """An interpreter without any installed package stands for an environment that was damaged."""
    done = run("--home", tmp_path / "home", python=(sys.executable, "-S"), environment={"PYTHONPATH": ""})
    assert done.returncode == 1
    [line] = done.stderr.splitlines()
    assert re.search(r"the environment is incomplete \(No module named .*run `make distclean`", line)


@pytest.mark.parametrize(
    ("content", "said"),
    [("def (", "SyntaxError: invalid syntax"), ("", "AttributeError: module 'httpx' has no attribute 'Timeout'")],
)
def test_a_damaged_package(tmp_path, content, said):
    (tmp_path / "httpx.py").write_text(content)
    done = run("--home", tmp_path / "home", environment={"PYTHONPATH": str(tmp_path)})
    assert done.returncode == 1
    [line] = done.stderr.splitlines()
    assert line.startswith(f"sop: the environment is incomplete ({said}")
    assert "run `make distclean`" in line


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    done = run("--home", tmp_path / "file" / "home")
    assert done.returncode == 1
    [line] = done.stderr.splitlines()
    assert line.startswith("sop: ")


@pytest.mark.parametrize("conf", ["{", "[1]"])
def test_inputs_that_are_no_object(conf):
    done = run("--conf", conf)
    assert done.returncode == 2
    assert "--conf" in done.stderr.splitlines()[-1]


def targets() -> set[str]:
    return set(re.findall(r"^([a-z-]+):.*##", (ROOT / "Makefile").read_text(), re.MULTILINE))


def test_make_lists_its_targets():
    done = subprocess.run(["make"], cwd=ROOT, capture_output=True, text=True, check=True)
    assert {line.split()[1] for line in done.stdout.splitlines()} == targets()


@pytest.mark.parametrize("page", ["README.md", "docs/operations.md"])
def test_documents_name_targets_and_files_that_exist(page):
    text = (ROOT / page).read_text()
    assert set(re.findall(r"`?make ([a-z][a-z-]*)", text)) - {"run"} <= targets() | {"run"}
    for link in re.findall(r"\]\(([^)#]+)\)", text):
        assert (ROOT / page).parent.joinpath(link).exists(), link


@pytest.mark.slow
def test_the_readmes_sop_is_valid_and_its_sop_commands_work():
    from airflow_sop_provider.sop import check_text

    text = (ROOT / "README.md").read_text()
    [document] = re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)
    assert [problem.render() for problem in check_text(document, Path("hello.yaml")).problems] == []
    commands = re.findall(r"^\.venv/bin/sop (.+)$", text, re.MULTILINE)
    assert commands
    for command in commands:
        script = "from airflow_sop_provider.cli import main; main()"
        done = subprocess.run(
            [sys.executable, "-c", script, *command.split()], cwd=ROOT, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr


def test_ci_calls_every_check():
    script = (ROOT / ".ci" / "run").read_text()
    subprocess.run(["bash", "-n", ROOT / ".ci" / "run"], check=True)
    assert "for target in env packages lint types layers test" in script
    assert os.access(ROOT / ".ci" / "run", os.X_OK)
