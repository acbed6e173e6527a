"""The one small interface behind which containers run, whatever runs them.

The executor knows `AttemptSpec` in and `Outcome` out and nothing of pods, sockets or process
groups. The methods are few and each can be called again after a crash of the caller: a start that
meets an existing attempt adopts it, a wait on an ended attempt answers at once, logs continue
where the caller stopped reading. That is what lets an executor be killed at any moment without a
step running twice or being lost (design, sections 3 and 7).
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, Protocol

from airflow_sop_provider.contract.engine_access import TOKEN_FILE
from airflow_sop_provider.contract.exit_codes import ErrorType
from airflow_sop_provider.contract.verdict import Usage, Verdict

__all__ = [
    "ANNOUNCED",
    "ASSIGNMENT_FILE",
    "CONTAINER_USER",
    "ENGINE_TOKEN_FILE",
    "EVENTS_FILE",
    "FILES_FOLDER",
    "FLEET_FILE",
    "MANAGED_BY",
    "MODELS_FILE",
    "TERMINATION_FILE",
    "VERDICT_FILE",
    "AttemptSpec",
    "Handle",
    "HandleState",
    "Outcome",
    "Runtime",
    "RuntimeFailedError",
    "RuntimeStartError",
    "RuntimeStateError",
    "announced_files",
    "variables_of_models",
]

ASSIGNMENT_FILE = "assignment.json"
"""Name in ``AttemptSpec.files``; the runtime points ``SOP_STEP`` at it."""
FLEET_FILE = "fleet.yaml"
"""Name in ``AttemptSpec.files``; the runtime points ``SOP_FLEET`` at it."""
ENGINE_TOKEN_FILE = "engine.token"  # noqa: S105  the name of a file
"""Name in ``AttemptSpec.files``; the runtime points ``SOP_ENGINE_TOKEN_FILE`` at it."""
MODELS_FILE = "models.yaml"
"""Name in ``AttemptSpec.files`` of an attempt that asks a model; its runner finds it beside the assignment."""
VERDICT_FILE = "verdict.json"
TERMINATION_FILE = "termination.json"
EVENTS_FILE = "events.jsonl"

ANNOUNCED = {ASSIGNMENT_FILE: "SOP_STEP", FLEET_FILE: "SOP_FLEET", ENGINE_TOKEN_FILE: TOKEN_FILE}
"""Name of a file -> variable that holds its path in the container."""

FILES_FOLDER = "/run/sop"
"""Where an attempt's files are in its container."""
CONTAINER_USER = 65532
"""User and group of an attempt's container; the runner's image has no file of theirs."""
MANAGED_BY = {"app.kubernetes.io/managed-by": "airflow-sop-provider"}
"""Label of everything of ours that a cluster or an engine holds."""

HandleState = Literal["created", "running", "ended"]


class RuntimeFailedError(Exception):
    """A runtime could not do what it was asked; base of this room's errors.

    :param error_type: what follows from it (design, section 8).
    :param code: short stable identifier.
    :param evidence: JSON values, no secrets.
    """

    def __init__(
        self, message: str, *, error_type: ErrorType, code: str, evidence: Mapping[str, Any] | None = None
    ) -> None:
        super().__init__(message)
        self.error_type = error_type
        self.code = code
        self.evidence: dict[str, Any] = dict(evidence or {})


class RuntimeStartError(RuntimeFailedError):
    """The attempt was not started, and nothing was left that would later look started."""


class RuntimeStateError(RuntimeFailedError):
    """The attempt is not in a state that allows the call, or does not exist."""


def variables_of_models(files: Mapping[str, bytes]) -> tuple[str, ...]:
    """Return the variables that the site's models read, for an attempt that asks one; no other attempt gets a key.

    :param files: of the attempt; `MODELS_FILE` is among them only where a model may be asked.
    """
    text = files.get(MODELS_FILE, b"").decode(errors="replace")
    return tuple(sorted(set(re.findall(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}", text))))


@dataclass(frozen=True, kw_only=True)
class AttemptSpec:
    """One attempt to start.

    :param name: unique name, a DNS label (`contract.container_name`); the key of idempotence.
    :param argv: program and arguments.
    :param env: variables the program gets on top of the runtime's few own ones.
    :param files: file name -> content; placed where only the attempt's user can read them.
        Those of `ANNOUNCED` are made known to the program by a variable each.
    :param memory_bytes: memory limit of all processes together, None for no limit.
    :param cpu_millis: CPU limit in thousandths of a core, for runtimes that can set one; None for no limit.
    :param timeout_seconds: wall-clock limit from the program's start, None for no limit.
    :param labels: kept with the attempt and given back by `Runtime.find`.
    :param image: image of its container, None for the runtime's own; the runtime brings the runner into it
        (`contract.portable`), and ``argv`` is not used.
    :param pod: the pod to run it in, as JSON, for the runtime that has pods: image, limits and all that a site
        wants; the runtime adds name, files and labels.
    """

    name: str
    argv: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, bytes] = field(default_factory=dict)
    memory_bytes: int | None = None
    cpu_millis: int | None = None
    timeout_seconds: float | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    image: str | None = None
    pod: Mapping[str, Any] | None = None


@dataclass(frozen=True, kw_only=True)
class Handle:
    """An attempt that exists.

    :param name: as in the spec.
    :param uid: identity of this very instance (a pod's uid; boot id, pid and start time of a process);
        empty while nothing runs yet.
    :param state: when the handle was made: ``created`` (never ran), ``running`` or ``ended``.
    :param adopted: True if the attempt existed before the call that returned this handle.
    """

    name: str
    uid: str
    state: HandleState
    adopted: bool
    labels: Mapping[str, str] = field(default_factory=dict)
    started_at: datetime | None = None


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What was seen of an attempt that is over; `engine.failures` says what it means.

    :param exit_code: of the program; None if it was ended by a signal or could not be learned.
    :param signal: number of the signal that ended it.
    :param verdict: the runner's verdict, None if there is none that can be read.
    :param events: what a runner that left no verdict had recorded, where its file of events is left; else the verdict
        has them.
    :param evidence: JSON values for the audit log: what was killed and why, what was missing.
    :param oom: it was ended because it used more memory than allowed.
    :param timed_out: it was ended because its time was over.
    :param stopped: it was ended by `Runtime.stop`.
    :param usage: the verdict's figures, else what the runtime measured.
    :param image: what it ran in, by digest; None where there is no image.
    """

    exit_code: int | None = None
    signal: int | None = None
    verdict: Verdict | None = None
    events: tuple[Mapping[str, Any], ...] = ()
    evidence: Mapping[str, Any] = field(default_factory=dict)
    oom: bool = False
    timed_out: bool = False
    stopped: bool = False
    usage: Usage | None = None
    image: str | None = None
    started_at: datetime | None = None
    ended_at: datetime | None = None

    @property
    def recorded(self) -> tuple[Mapping[str, Any], ...]:
        """What the runner had recorded and the engine may not have: its verdict's events, or what its file had."""
        return self.events if self.verdict is None else self.verdict.events


def announced_files(spec: AttemptSpec) -> dict[str, str]:
    """Return the variables that tell a container's program where its files in `FILES_FOLDER` are."""
    return {ANNOUNCED[name]: f"{FILES_FOLDER}/{name}" for name in spec.files if name in ANNOUNCED}


class Runtime(Protocol):
    """Where attempts run. One instance per executor process, used from one event loop."""

    @property
    def name(self) -> str:
        """``local``, ``kubernetes`` or ``docker``."""

    async def start(self, spec: AttemptSpec) -> Handle:
        """Start the attempt or adopt the one of that name; never run it twice.

        :raises RuntimeStartError: it was not started.
        """

    async def wait(self, handle: Handle) -> Outcome:
        """Return once the attempt is over and nothing of it runs any more; any number of callers.

        :raises RuntimeStateError: there is no such attempt, or it never ran.
        """

    def logs(self, handle: Handle, offset: int = 0) -> AsyncIterator[tuple[int, str]]:
        """Follow the output: (offset after the line, line without its newline), from ``offset`` to the end.

        Ends once the attempt is over and everything was read. An offset this has given continues exactly there.
        """

    async def stop(self, handle: Handle, *, grace: float) -> None:
        """Ask the attempt to end, force it after ``grace`` seconds; return once nothing of it runs.

        :raises RuntimeStateError: something could not be ended.
        """

    async def remove(self, handle: Handle) -> None:
        """Delete what is left of an attempt that is over; nothing happens if it is gone already.

        :raises RuntimeStateError: it still runs.
        """

    async def find(self) -> list[Handle]:
        """Return every attempt of ours that exists, whoever started it."""

    async def close(self) -> None:
        """Let go of everything; running attempts go on and can be found again."""
