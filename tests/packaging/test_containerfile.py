"""The Containerfile and `make image` build the same image: one is read here and compared with the other's constants."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest

from tools.cluster.runner_image import AGENTS_EXTRAS, EXTRA, runner_config
from tools.dev.environment import ROOT

Instruction = tuple[str, str]


def instructions(text: str) -> list[Instruction]:
    """Return (keyword, arguments) of each instruction, comments gone and continued lines put together."""
    lines = "\n".join(line for line in text.splitlines() if not line.startswith("#"))
    whole = re.sub(r"\\\n\s*", "", lines)
    return [(line.split()[0].upper(), line.partition(" ")[2]) for line in whole.splitlines() if line.strip()]


@pytest.fixture(scope="module")
def stages() -> list[list[Instruction]]:
    """The instructions of each stage, beginning with its FROM."""
    found: list[list[Instruction]] = []
    for instruction in instructions((ROOT / "Containerfile").read_text()):
        if instruction[0] == "FROM":
            found.append([])
        if found:
            found[-1].append(instruction)
    return found


def of_kind(stage: list[Instruction], keyword: str) -> list[str]:
    return [arguments for name, arguments in stage if name == keyword]


def test_the_config_is_that_of_make_image(stages: list[list[Instruction]]) -> None:
    config, last = runner_config(), stages[-1]
    assert of_kind(last, "USER") == [config["User"]]
    assert of_kind(last, "WORKDIR") == [config["WorkingDir"]]
    assert [json.loads(text) for text in of_kind(last, "ENTRYPOINT")] == [config["Entrypoint"]]
    assert of_kind(last, "CMD") == ["[]"], "a base's own would be arguments of the runner"
    assert [pair for text in of_kind(last, "ENV") for pair in shlex.split(text)] == config["Env"]


def test_the_libraries_are_the_pinned_ones_of_the_runner(stages: list[list[Instruction]]) -> None:
    first, _ = stages
    (script,) = of_kind(first, "RUN")
    (install,) = [part.split() for part in script.split(";") if "pip install" in part]
    assert install[-1] == '".[${EXTRAS}]"'
    assert of_kind(first, "ARG") == [f"EXTRAS={EXTRA}"], "what `make image` installs, and no other extra"
    assert install[install.index("--constraint") + 1] == "constraints.txt"
    assert "--target" in install


def test_the_image_of_agents_is_built_with_the_extras_of_make_image() -> None:
    [comment] = [line for line in (ROOT / "Containerfile").read_text().splitlines() if "--build-arg EXTRAS=" in line]
    assert f"--build-arg EXTRAS={','.join(AGENTS_EXTRAS)} " in comment


def test_the_last_stage_needs_no_shell_and_brings_no_tool_of_the_first(stages: list[list[Instruction]]) -> None:
    first, last = stages
    assert of_kind(first, "FROM") == ["${BASE} AS libraries"]
    assert of_kind(last, "FROM") == ["${BASE}"]
    assert {name for name, _ in last} == {"FROM", "COPY", "ENV", "WORKDIR", "USER", "ENTRYPOINT", "CMD"}
    assert of_kind(last, "COPY") == ["--from=libraries /image/ /"]


def test_every_file_it_copies_is_there_and_in_the_source_distribution(stages: list[list[Instruction]]) -> None:
    import tomllib

    build = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["sdist"]
    shipped = {*build["include"], "/pyproject.toml"}  # hatch ships that one by itself
    copied = [Path(part) for text in of_kind(stages[0], "COPY") for part in text.split()[:-1]]
    for path in copied:
        assert (ROOT / path).exists(), path
        assert f"/{path}" in shipped, path
    assert "/Containerfile" in shipped
