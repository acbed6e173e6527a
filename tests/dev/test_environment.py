"""The environment is made once, renewed when its content changes, and a failure is one sentence."""

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tools.dev import environment
from tools.dev.environment import ROOT, EnvironmentProblem, ensure_environment

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
PINS = dict(
    line.split("==") for line in (ROOT / "constraints.txt").read_text().splitlines() if not line.startswith("#")
)


@pytest.fixture
def calls(monkeypatch, tmp_path):
    """Record the commands instead of installing; `uv venv` leaves an interpreter."""
    made: list[list[str]] = []

    def call(command, log):
        made.append(command)
        if "venv" in command:
            (Path(command[-1]) / "bin").mkdir(parents=True, exist_ok=True)
            (Path(command[-1]) / "bin" / "python").touch()

    monkeypatch.setattr(environment, "_call", call)
    monkeypatch.setattr(environment, "_find_uv", lambda log: "uv")
    return made


def test_nothing_is_done_when_nothing_changed(calls, tmp_path):
    assert ensure_environment(tmp_path / "env", "dev", report=False)
    done = len(calls)
    assert not ensure_environment(tmp_path / "env", "dev", report=False)
    assert not ensure_environment(tmp_path / "env", "run", report=False), "an environment for dev serves run"
    assert len(calls) == done


def test_byte_code_is_compiled_and_versions_are_pinned(calls, tmp_path):
    ensure_environment(tmp_path / "env", "run", report=False)
    install = calls[-1]
    assert "--compile-bytecode" in install
    assert str(ROOT / "constraints.txt") == install[install.index("--constraints") + 1]
    assert install[-1] == f"{ROOT}[airflow,runner,agents]"


def test_tests_need_more_than_running(calls, tmp_path):
    ensure_environment(tmp_path / "env", "run", report=False)
    assert ensure_environment(tmp_path / "env", "dev", report=False)
    assert calls[-1][-1].endswith(",dev]")


def test_a_renewed_environment_keeps_what_tests_need(calls, tmp_path, monkeypatch):
    ensure_environment(tmp_path / "env", "dev", report=False)
    monkeypatch.setattr(environment, "_digest", lambda folder: "changed")
    assert ensure_environment(tmp_path / "env", "run", report=False)
    assert calls[-1][-1].endswith(",dev]")


def test_an_interpreter_that_vanished_is_made_again(calls, tmp_path):
    ensure_environment(tmp_path / "env", "dev", report=False)
    (tmp_path / "env" / "bin" / "python").unlink()
    assert ensure_environment(tmp_path / "env", "dev", report=False)
    assert (tmp_path / "env" / "bin" / "python").exists()


def test_an_interrupted_installation_is_not_taken_for_whole(calls, tmp_path, monkeypatch):
    ensure_environment(tmp_path / "env", "run", report=False)

    def fail(command, log):
        raise EnvironmentProblem("no network")

    with monkeypatch.context() as failing:
        failing.setattr(environment, "_call", fail)
        with pytest.raises(EnvironmentProblem):
            ensure_environment(tmp_path / "env", "dev", report=False)
    assert ensure_environment(tmp_path / "env", "run", report=False)


def test_a_failed_installation_is_one_sentence_with_the_cause(tmp_path):
    fake = tmp_path / "bin" / "uv"
    fake.parent.mkdir()
    fake.write_text("#!/bin/sh\necho 'error: Failed to fetch: `somewhere`' >&2\nexit 2\n")
    fake.chmod(0o755)
    done = subprocess.run(
        [sys.executable, "-m", "tools.dev.environment", "dev"],
        cwd=ROOT,
        env={**os.environ, "PATH": f"{fake.parent}:/usr/bin:/bin", "SOP_VENV": str(tmp_path / "env")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "Failed to fetch" in done.stderr
    assert str(tmp_path / "env-install.log") in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_an_old_python_is_refused_with_the_remedy(monkeypatch, tmp_path):
    monkeypatch.setattr(environment.sys, "version_info", (3, 9, 2))
    with pytest.raises(EnvironmentProblem, match=r"Python 3\.11 or newer is needed, this is 3\.9: .*make PYTHON="):
        ensure_environment(tmp_path / "env")


def test_uv_is_installed_where_it_is_missing(monkeypatch, tmp_path):
    made: list[list[str]] = []
    monkeypatch.setenv("SOP_CACHE", str(tmp_path))
    monkeypatch.setattr(environment.shutil, "which", lambda name: None)
    monkeypatch.setattr(environment, "_call", lambda command, log: made.append(command))
    uv = environment._find_uv(tmp_path / "log")
    assert uv.startswith(str(tmp_path))
    assert made[-1][-1] == f"uv=={PINS['uv']}"


def test_every_requirement_is_pinned_to_a_version_it_allows():
    extras = [requirement for group in PROJECT["optional-dependencies"].values() for requirement in group]
    for text in [*PROJECT["dependencies"], *extras]:
        requirement = Requirement(text)
        assert requirement.specifier.contains(PINS[canonicalize_name(requirement.name)]), text


def test_constraints_name_no_index_and_nothing_but_pins():
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if not line.startswith("#")]
    assert lines
    assert all(re.fullmatch(r"[a-z0-9._-]+==[\w.!+]+", line) for line in lines)
