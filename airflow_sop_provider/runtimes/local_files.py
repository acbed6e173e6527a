"""The folder of a local attempt: the only memory of the local runtime, so that it survives its owner.

A folder appears complete or not at all (made aside, then renamed), so a full disk or a kill in
between leaves nothing that looks like an attempt. What happened is read from files whose presence
means something: ``started`` the program may have acted, ``killed.json`` we ended it and why,
``exit.json`` its exit status as its parent saw it.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import secrets
import shutil
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from airflow_sop_provider.audit.event_lines import read_events, without_identity
from airflow_sop_provider.contract.verdict import UnreadableVerdictError, Verdict, read_verdict
from airflow_sop_provider.runtimes.base import EVENTS_FILE, TERMINATION_FILE, VERDICT_FILE, AttemptSpec

__all__ = ["OUTPUT_FILE", "RESERVED_NAMES", "VERDICT_LIMIT", "AttemptFolder", "Marker"]

OUTPUT_FILE = "output.log"
VERDICT_LIMIT = 16 * 1024 * 1024
"""Bytes of a verdict that are read at most; a larger one counts as unreadable."""

RESERVED_NAMES = frozenset(
    {"lock", "started", "spec.json", "killed.json", "exit.json", "exec-error", "work", "tmp", OUTPUT_FILE}
    | {VERDICT_FILE, TERMINATION_FILE}
)
"""Names with a meaning of their own, which `AttemptSpec.files` may not use."""

_ASIDE = "."
_ASIDE_LIFE = 600  # seconds after which what a killed starter or remover left aside is deleted


@dataclass(frozen=True)
class Marker:
    """What the entry program wrote when the attempt began: its first process and when."""

    pid: int
    start: int
    boot: str
    wall: float

    @property
    def uid(self) -> str:
        """Identity of this instance on this host."""
        return f"{self.boot}:{self.pid}:{self.start}"


@dataclass(frozen=True)
class AttemptFolder:
    """One attempt's folder, whether or not it exists."""

    path: Path

    @property
    def name(self) -> str:
        """The attempt's name."""
        return self.path.name

    @property
    def output(self) -> Path:
        """Standard output and standard error, appended."""
        return self.path / OUTPUT_FILE

    def create(self, spec: AttemptSpec) -> bool:
        """Make the folder with the spec and its files; False if it exists, which is then left as it is.

        :raises OSError: nothing was made.
        """
        if self.path.exists():
            return False
        self.path.parent.mkdir(parents=True, exist_ok=True)
        aside = self.path.with_name(f"{_ASIDE}{self.name}.{secrets.token_hex(6)}")
        try:
            _fill(aside, spec)
            os.rename(aside, self.path)
        except FileExistsError:
            return False
        except OSError:
            if self.path.exists():  # ENOTEMPTY: another starter was first
                return False
            raise
        finally:
            shutil.rmtree(aside, ignore_errors=True)
        return True

    def spec(self) -> dict[str, Any]:
        """Return name, argv, labels, memory_bytes and timeout_seconds as started; empty if they cannot be read."""
        return self._json("spec.json")

    def marker(self) -> Marker | None:
        """Return the marker, None if the program was never reached."""
        try:
            pid, start, boot, wall = (self.path / "started").read_text().split()
            return Marker(int(pid), int(start), boot, float(wall))
        except FileNotFoundError:
            return None
        except ValueError:  # a power cut may leave an empty file; the program may have acted
            return Marker(0, 0, "unreadable", 0.0)

    def killed(self) -> dict[str, Any]:
        """Return why we ended the attempt, empty if we did not."""
        return self._json("killed.json")

    def write_killed(self, why: Mapping[str, Any]) -> None:
        """Remember before the signal is sent why it is; the first reason stays."""
        if not self.killed():
            self._write_json("killed.json", why)

    def exit(self) -> dict[str, Any]:
        """Return exit_code, signal, ended_at and usage, empty if nobody who could know wrote them."""
        return self._json("exit.json")

    def write_exit(self, status: Mapping[str, Any]) -> None:
        """Remember the exit status for whoever asks after a restart."""
        self._write_json("exit.json", status)

    def exec_error(self) -> str | None:
        """Return why the program could not be executed."""
        try:
            return (self.path / "exec-error").read_text().strip()
        except OSError:
            return None

    def verdict(self) -> tuple[Verdict | None, Mapping[str, Any]]:
        """Return the verdict or else the shortened copy, and as evidence what was wrong with the first of them."""
        problem: Mapping[str, Any] = {}
        for name in (VERDICT_FILE, TERMINATION_FILE):
            try:
                text = _read_bounded(self.path / name)
                if text:
                    return read_verdict(text), problem
            except FileNotFoundError:
                continue
            except UnreadableVerdictError as error:
                problem = problem or error.as_evidence(name)
            except (OSError, ValueError) as error:
                first_line = str(error).partition("\n")[0]
                problem = problem or {"verdict_problem": f"{name}: {first_line}"}
        return None, problem

    def events(self) -> tuple[dict[str, Any], ...]:
        """Return what the runner recorded, as far as it is left; a file that is too large counts as none."""
        try:
            return tuple(map(without_identity, read_events(_read_bounded(self.path / EVENTS_FILE))))
        except (OSError, ValueError):
            return ()

    def is_locked(self) -> bool:
        """Tell whether an entry program or the program itself holds the lock."""
        try:
            with open(self.path / "lock", "rb") as lock:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except FileNotFoundError:
            return False
        except BlockingIOError:
            return True
        return False

    def remove(self) -> None:
        """Delete everything; at once gone from its place."""
        aside = self.path.with_name(f"{_ASIDE}{self.name}.{secrets.token_hex(6)}")
        try:
            os.rename(self.path, aside)
        except FileNotFoundError:
            return
        shutil.rmtree(aside, ignore_errors=True)

    @staticmethod
    def all_of(root: Path) -> Iterator[AttemptFolder]:
        """Yield every attempt's folder; delete what was left aside long ago."""
        with contextlib.suppress(FileNotFoundError), os.scandir(root) as entries:
            for entry in entries:
                if not entry.name.startswith(_ASIDE):
                    yield AttemptFolder(Path(entry.path))
                    continue
                with contextlib.suppress(FileNotFoundError):
                    if time.time() - entry.stat().st_mtime > _ASIDE_LIFE:
                        shutil.rmtree(entry.path, ignore_errors=True)

    def _json(self, name: str) -> dict[str, Any]:
        try:
            value = json.loads((self.path / name).read_text())
        except (OSError, ValueError):
            return {}
        return value if isinstance(value, dict) else {}

    def _write_json(self, name: str, value: Mapping[str, Any]) -> None:
        """Write atomically; on a full disk the fact is lost for a later process only, so that is no error."""
        temporary = self.path / f".{name}.{secrets.token_hex(4)}"
        with contextlib.suppress(OSError):
            temporary.write_text(json.dumps(value))
            os.replace(temporary, self.path / name)
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def _fill(folder: Path, spec: AttemptSpec) -> None:
    folder.mkdir(mode=0o700)
    (folder / "work").mkdir(mode=0o700)
    (folder / "tmp").mkdir(mode=0o700)
    kept = {
        "name": spec.name,
        "argv": list(spec.argv),
        "labels": dict(spec.labels),
        "memory_bytes": spec.memory_bytes,
        "timeout_seconds": spec.timeout_seconds,
    }
    for name, content in {**spec.files, "spec.json": json.dumps(kept).encode()}.items():
        descriptor = os.open(folder / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with open(descriptor, "wb") as file:
            file.write(content)


def _read_bounded(path: Path) -> bytes:
    with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW), "rb") as file:
        text = file.read(VERDICT_LIMIT + 1)
    if len(text) > VERDICT_LIMIT:
        raise ValueError(f"larger than {VERDICT_LIMIT} bytes")
    return text
