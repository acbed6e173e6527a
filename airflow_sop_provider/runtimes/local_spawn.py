"""Making the process of a local attempt: its environment, its entry program, and what can go wrong.

``posix_spawn`` instead of ``subprocess``: no copy of a big parent's memory map, no thread per child
(asyncio's default watcher before Python 3.12), and the signal set-up a child needs in one call.
"""

from __future__ import annotations

import asyncio
import errno
import os
import re
import signal
import sys
from dataclasses import dataclass
from pathlib import Path

from airflow_sop_provider.contract.exit_codes import ErrorType
from airflow_sop_provider.runtimes import base, procfs
from airflow_sop_provider.runtimes.base import AttemptSpec, RuntimeStartError
from airflow_sop_provider.runtimes.local_files import RESERVED_NAMES, AttemptFolder, Marker
from airflow_sop_provider.runtimes.local_monitor import resident_floor

__all__ = ["PASSED_ON", "Spawned", "attempt_environment", "check_spec", "spawn", "start_error"]

PASSED_ON = ("PATH", "PYTHONPATH", "LD_LIBRARY_PATH", "TZ")
"""Variables of the starter that attempts get too: what is needed to find the same programs and modules."""

_ENTRY = str(Path(__file__).with_name("local_entry.py"))
_STATUS = 3
_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_FILE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,200}")
_HOPELESS = {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENAMETOOLONG, errno.E2BIG, errno.EINVAL, errno.ENOTDIR}
_BACKSTOP_SPARE = 512 * 1024 * 1024


@dataclass(frozen=True)
class Spawned:
    """A child that became the attempt."""

    marker: Marker
    resident_floor: int


def check_spec(spec: AttemptSpec) -> None:
    """Refuse what could never start.

    :raises RuntimeStartError: permanent; the message names the field.
    """
    problem = None
    if not _NAME.fullmatch(spec.name):
        problem = f"its name must be a DNS label, not {spec.name!r}"
    elif not spec.argv:
        problem = "`argv` is empty"
    elif spec.image is not None:
        problem = (
            f"its step names the image {spec.image!r}, and the local runtime has no containers; set [sop] runtime to "
            "kubernetes or docker, or take `image` out of the step"
        )
    elif any("\0" in text for pair in spec.env.items() for text in pair) or any("\0" in a for a in spec.argv):
        problem = "`argv` and `env` may not contain NUL characters"
    elif any(not key or "=" in key for key in spec.env):
        problem = "a name in `env` is empty or contains `=`"
    else:
        bad = [name for name in spec.files if not _FILE.fullmatch(name) or name in RESERVED_NAMES]
        problem = f"{bad[0]!r} is no usable name in `files`" if bad else None
    if problem is not None:
        raise RuntimeStartError(
            f"attempt `{spec.name}` cannot be started: {problem}", error_type=ErrorType.PERMANENT, code="bad-spec"
        )


def attempt_environment(spec: AttemptSpec, folder: AttemptFolder, passed_on: tuple[str, ...]) -> dict[str, str]:
    """Return the whole environment of the attempt; nothing else of this process's reaches it."""
    path = folder.path
    environment = {procfs.MARK: str(path)}  # first, so that it is found quickly
    wanted = (*passed_on, *base.variables_of_models(spec.files))
    environment |= {name: os.environ[name] for name in wanted if name in os.environ}
    environment.setdefault("PATH", os.defpath)
    environment |= {"HOME": str(path), "TMPDIR": str(path / "tmp"), "LANG": "C.UTF-8", "PYTHONUNBUFFERED": "1"}
    environment |= {
        "SOP_VERDICT": str(path / base.VERDICT_FILE),
        "SOP_TERMINATION_LOG": str(path / base.TERMINATION_FILE),
        "SOP_EVENTS": str(path / base.EVENTS_FILE),
    }
    for name, variable in base.ANNOUNCED.items():
        if name in spec.files:
            environment[variable] = str(path / name)
    return environment | dict(spec.env) | {procfs.MARK: str(path)}


def start_error(name: str, what: str, number: int | None, text: str) -> RuntimeStartError:
    """Return the error for a failed system call: transient unless trying again cannot help."""
    remedy = "free space and retry" if number in (errno.ENOSPC, errno.EDQUOT) else "see the evidence"
    return RuntimeStartError(
        f"{what} attempt `{name}`: {text}; {remedy}",
        error_type=ErrorType.PERMANENT if number in _HOPELESS else ErrorType.TRANSIENT,
        code="local-start",
        evidence={"errno": errno.errorcode.get(number or 0), "error": text},
    )


async def spawn(spec: AttemptSpec, folder: AttemptFolder, passed_on: tuple[str, ...]) -> Spawned | None:
    """Start the entry program; return once it is the attempt, or None if another process is or was it.

    :raises RuntimeStartError: it could not become the attempt.
    """
    floor = resident_floor()
    read_end, write_end = os.pipe()
    try:
        pid = _spawn_entry(spec, folder, passed_on, write_end)
    except OSError as error:
        os.close(read_end)
        raise start_error(spec.name, "cannot start a process for", error.errno, str(error)) from error
    finally:
        os.close(write_end)
    answer = await _read_status(read_end)
    if answer != "started":
        await asyncio.to_thread(os.waitpid, pid, 0)
    marker = await asyncio.to_thread(folder.marker)
    if answer == "started" and marker is not None:
        return Spawned(marker, floor)
    # Without a word: ended together with the attempt that another starter's entry program had become.
    if answer == "lost" or (answer == "" and marker is not None):
        return None
    number, _, text = answer.removeprefix("error ").partition(" ")
    raise start_error(
        spec.name,
        "cannot prepare the process of",
        int(number) if number.isdecimal() else None,
        text or "its entry program ended without a word",
    )


def _spawn_entry(spec: AttemptSpec, folder: AttemptFolder, passed_on: tuple[str, ...], status: int) -> int:
    """The limit on memory is enforced by the monitor; the backstop catches what is faster than its passes."""
    backstop = 2 * spec.memory_bytes + _BACKSTOP_SPARE if spec.memory_bytes else 0
    return os.posix_spawn(
        sys.executable,
        [sys.executable, "-I", "-S", _ENTRY, str(folder.path), str(backstop), *spec.argv],
        attempt_environment(spec, folder, passed_on),
        file_actions=[
            (os.POSIX_SPAWN_DUP2, status, _STATUS),
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0),
            (os.POSIX_SPAWN_OPEN, 2, os.devnull, os.O_WRONLY, 0),
        ],
        setsid=True,
        setsigmask=[],
        setsigdef=[n for n in signal.valid_signals() if n not in (signal.SIGKILL, signal.SIGSTOP)],
    )


async def _read_status(read_end: int) -> str:
    """Return what the entry program says; its end, or the program's beginning, closes the pipe."""
    loop = asyncio.get_running_loop()
    os.set_blocking(read_end, False)
    readable = asyncio.Event()
    loop.add_reader(read_end, readable.set)
    text = b""
    try:
        while True:
            await readable.wait()
            readable.clear()
            try:
                block = os.read(read_end, 4096)
            except BlockingIOError:  # the loop had noticed the same bytes twice
                continue
            if not block:
                return text.decode(errors="replace")
            text += block
    finally:
        loop.remove_reader(read_end)
        os.close(read_end)
