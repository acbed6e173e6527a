"""The model's server, started on loopback, waited for and ended with whoever started it."""

from __future__ import annotations

import contextlib
import os
import secrets
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from tools.dev.processes import end_components, start_component
from tools.model.problems import ModelProblem

__all__ = ["CONTEXT_TOKENS", "Server", "serving"]

CONTEXT_TOKENS = 8192
"""Tokens of a conversation: an agent-centric run of a shipped SOP takes half of it."""
_START_SECONDS = 120.0


@dataclass(frozen=True)
class Server:
    """A server that answers.

    :param url: its OpenAI-compatible endpoint.
    :param key: what it asks for as bearer token; other users of the machine do not know it.
    """

    url: str
    key: str
    pid: int


@contextmanager
def serving(program: Path, weights: Path, log: Path, *, port: int = 0, threads: int | None = None) -> Iterator[Server]:
    """Serve on 127.0.0.1 for as long as the context is open.

    :param port: 0: a free one.
    :param threads: that compute; all cores if left out. Where others compute, too, one is faster than two: they wait
        for each other many times for each token.
    :raises ModelProblem: the server ended, or was not ready in two minutes.
    """
    port = port or _free_port()
    key = secrets.token_urlsafe(24)
    options = ["--host", "127.0.0.1", "--port", str(port), "--ctx-size", str(CONTEXT_TOKENS), "--parallel", "1"]
    count = threads or os.cpu_count() or 1
    command = [str(program), "--model", str(weights), *options, "--threads", str(count), "--poll", "0", "--jinja"]
    # in the environment and not among the arguments, which every user of the machine can read
    component = start_component("model", command, environment={**os.environ, "LLAMA_API_KEY": key}, log=log)
    try:
        _wait(f"http://127.0.0.1:{port}/health", component.process, log)
        yield Server(f"http://127.0.0.1:{port}/v1", key, component.process.pid)
    finally:
        end_components([component], grace=5)


def _wait(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    limit = time.monotonic() + _START_SECONDS
    while time.monotonic() < limit:
        if process.poll() is not None:
            raise ModelProblem(f"the model's server ended with {process.returncode}; its log: {log}")
        with contextlib.suppress(httpx.HTTPError):
            if httpx.get(url, timeout=2).is_success:
                return
        time.sleep(0.2)
    raise ModelProblem(f"the model's server was not ready after {_START_SECONDS:.0f} s; its log: {log}")


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])
