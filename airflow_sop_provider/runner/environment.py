"""Where the runner reads and writes, taken from its environment; the container's contract in one place."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

__all__ = ["RunnerEnvironment", "SetupError"]

_TERMINATION_LOG = Path("/dev/termination-log")
_MAX_HEARTBEAT = 30.0  # seconds; the container's contract


class SetupError(ValueError):
    """The environment does not say what to run."""


@dataclass(frozen=True)
class RunnerEnvironment:
    """Paths and times of one attempt.

    :param assignment: ``SOP_STEP``: the assignment, JSON.
    :param verdict: ``SOP_VERDICT``: where the full verdict goes, None: nowhere.
    :param termination_log: ``SOP_TERMINATION_LOG``, or Kubernetes' default where it can be written.
    :param events: ``SOP_EVENTS``: JSON lines, appended, None: nowhere.
    :param fleet: ``SOP_FLEET``: the fleet's registry, None: no fleet.
    :param heartbeat_seconds: ``SOP_HEARTBEAT_SECONDS``, at most 30.
    :param stop_grace_seconds: ``SOP_STOP_GRACE_SECONDS``: what a command gets to end after SIGTERM.
    :param engine_url: ``SOP_ENGINE_URL``: where events go while the step runs, None: they wait for the verdict.
    :param engine_token: ``SOP_ENGINE_TOKEN_FILE``: file of the token for it.
    """

    assignment: Path
    verdict: Path | None
    termination_log: Path | None
    events: Path | None
    fleet: Path | None
    heartbeat_seconds: float = 25.0  # of 4,000 runners the engine hears 160 times a second
    stop_grace_seconds: float = 1.5
    engine_url: str | None = None
    engine_token: Path | None = None

    @classmethod
    def read(cls, environ: Mapping[str, str] | None = None) -> RunnerEnvironment:
        """Read the process's environment.

        :raises SetupError: if ``SOP_STEP`` is not set or a number is not one.
        """
        source = os.environ if environ is None else environ
        if not source.get("SOP_STEP"):
            raise SetupError("SOP_STEP is not set: it names the file that holds the step to run.")
        return cls(
            assignment=Path(source["SOP_STEP"]),
            verdict=_path(source, "SOP_VERDICT"),
            termination_log=_path(source, "SOP_TERMINATION_LOG") or _default_termination_log(),
            events=_path(source, "SOP_EVENTS"),
            fleet=_path(source, "SOP_FLEET"),
            heartbeat_seconds=min(_seconds(source, "SOP_HEARTBEAT_SECONDS", 25.0), _MAX_HEARTBEAT),
            stop_grace_seconds=_seconds(source, "SOP_STOP_GRACE_SECONDS", 1.5),
            engine_url=source.get("SOP_ENGINE_URL") or None,
            engine_token=_path(source, "SOP_ENGINE_TOKEN_FILE"),
        )


def _path(source: Mapping[str, str], name: str) -> Path | None:
    return Path(source[name]) if source.get(name) else None


def _default_termination_log() -> Path | None:
    return _TERMINATION_LOG if os.access(_TERMINATION_LOG, os.W_OK) else None


def _seconds(source: Mapping[str, str], name: str, default: float) -> float:
    try:
        value = float(source.get(name) or default)
    except ValueError:
        value = 0.0
    if not 0.0 < value < float("inf"):
        raise SetupError(f"{name} is {source[name]!r}; it must be a number of seconds above 0.")
    return value
