"""An attempt as a container of the Docker API: what it is created with, and what its end means. Pure functions."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from airflow_sop_provider.audit.event_lines import read_events, without_identity
from airflow_sop_provider.contract.portable import RUNNER_FOLDER, start_command
from airflow_sop_provider.contract.verdict import Verdict, read_verdict
from airflow_sop_provider.runtimes.base import (
    CONTAINER_USER,
    EVENTS_FILE,
    FILES_FOLDER,
    MANAGED_BY,
    TERMINATION_FILE,
    VERDICT_FILE,
    AttemptSpec,
    Handle,
    HandleState,
    Outcome,
    announced_files,
)

__all__ = [
    "EVENTS_PATH",
    "VERDICT_PATH",
    "config_of",
    "deadline_of",
    "events_of",
    "files_of",
    "handle_of",
    "is_over",
    "outcome_of",
    "verdict_of",
]

_OUT = "out"
VERDICT_PATH = f"{FILES_FOLDER}/{_OUT}/{VERDICT_FILE}"
"""Where the runner leaves its verdict."""
EVENTS_PATH = f"{FILES_FOLDER}/{_OUT}/{EVENTS_FILE}"
"""Where it records what it does."""

_EVENTS_LIMIT = 16 * 1024 * 1024  # bytes
_LABEL = "sop/"
_TIMEOUT_LABEL = "airflow-sop-provider/timeout-seconds"
_PROCESSES = 1024
_TMP_BYTES = 1 << 30
_KILLED = 128 + 9
_SIGNALS = range(129, 160)
_OVER = frozenset({"exited", "dead", "stopped"})
_NEVER = frozenset({"created", "configured", "initialized"})


def config_of(
    spec: AttemptSpec, *, image: str, network: str, runner_volume: str = "", variables: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """Return what to create the container with: no privileges, nothing writable but /tmp and its own files.

    :param image: the runner's, for a step that names no image of its own.
    :param runner_volume: volume with a copy of the runner, for a step that names an image.
    :param variables: further variables of the runtime.
    """
    environment = {
        "HOME": "/tmp",  # noqa: S108 - the container's own
        **spec.env,
        **(variables or {}),
        **announced_files(spec),
        "SOP_VERDICT": VERDICT_PATH,
        "SOP_TERMINATION_LOG": f"{FILES_FOLDER}/{_OUT}/{TERMINATION_FILE}",
        "SOP_EVENTS": EVENTS_PATH,
    }
    own = {_TIMEOUT_LABEL: str(spec.timeout_seconds)} if spec.timeout_seconds is not None else {}
    host: dict[str, Any] = {
        "NetworkMode": network,
        "ReadonlyRootfs": True,
        "CapDrop": ["ALL"],
        "SecurityOpt": ["no-new-privileges"],
        "PidsLimit": _PROCESSES,
        "Tmpfs": {"/tmp": f"rw,nosuid,nodev,size={_TMP_BYTES},mode=1777"},  # noqa: S108 - the container's own
    }
    if spec.memory_bytes is not None:
        host |= {"Memory": spec.memory_bytes, "MemorySwap": spec.memory_bytes}  # the same: no swap
    if spec.cpu_millis is not None:
        host["NanoCpus"] = spec.cpu_millis * 1_000_000
    if spec.image is not None:
        host["Binds"] = [f"{runner_volume}:{RUNNER_FOLDER}:ro"]
    return {
        "Image": spec.image or image,
        # the program is the image's Python, not the one of this host
        "Entrypoint": ["python", *spec.argv[1:]] if spec.image is None else start_command(),
        "Cmd": [],
        "User": f"{CONTAINER_USER}:{CONTAINER_USER}",
        "Env": [f"{name}={value}" for name, value in environment.items()],
        "Labels": {**MANAGED_BY, **own, **{f"{_LABEL}{name}": value for name, value in spec.labels.items()}},
        "Volumes": {FILES_FOLDER: {}},  # of its own, and deleted with it
        "HostConfig": host,
    }


def files_of(spec: AttemptSpec) -> bytes:
    """Return the attempt's files as a tar archive for `FILES_FOLDER`, readable by the container's user only."""
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        folder = tarfile.TarInfo(_OUT)
        folder.type, folder.mode, folder.uid, folder.gid = tarfile.DIRTYPE, 0o700, CONTAINER_USER, CONTAINER_USER
        tar.addfile(folder)
        for name, content in spec.files.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode, entry.uid, entry.gid = len(content), 0o400, CONTAINER_USER, CONTAINER_USER
            tar.addfile(entry, io.BytesIO(content))
        end = tar.offset
    # Podman stops reading at the end of the archive and takes the padding that follows for a failed write.
    return archive.getvalue()[: end + 2 * tarfile.BLOCKSIZE]


def handle_of(inspected: Mapping[str, Any], *, adopted: bool) -> Handle:
    """Return the handle of a container as the engine describes it."""
    state = inspected["State"]
    name: HandleState = "running"
    if state["Status"] in _NEVER:
        name = "created"
    elif is_over(inspected):
        name = "ended"
    labels = (inspected.get("Config") or {}).get("Labels") or {}
    return Handle(
        name=str(inspected["Name"]).lstrip("/"),
        uid="" if name == "created" else str(inspected["Id"]),
        state=name,
        adopted=adopted,
        labels={key.removeprefix(_LABEL): value for key, value in labels.items() if key.startswith(_LABEL)},
        started_at=_moment(state.get("StartedAt")),
    )


def is_over(inspected: Mapping[str, Any]) -> bool:
    """Return whether nothing of the container runs any more."""
    return inspected["State"]["Status"] in _OVER


def deadline_of(inspected: Mapping[str, Any]) -> datetime | None:
    """Return when its time is over, None if it may take as long as it likes."""
    started, seconds = _moment(inspected["State"].get("StartedAt")), _timeout(inspected)
    return None if started is None or seconds is None else started + timedelta(seconds=seconds)


def outcome_of(
    inspected: Mapping[str, Any], verdict: Verdict | None, *, stopped: bool = False, tells_oom: bool = True
) -> Outcome:
    """Return what came of a container that is over.

    :param stopped: we asked it to end.
    :param tells_oom: whether the engine says so when the kernel ended it for its memory; Podman does not, there a
        container with a memory limit that was killed by nobody we know of counts as such.
    """
    state = inspected["State"]
    code = int(state.get("ExitCode") or 0)
    started, ended = _moment(state.get("StartedAt")), _moment(state.get("FinishedAt"))
    deadline = deadline_of(inspected)
    signal = code - 128 if code in _SIGNALS else None
    timed_out = signal is not None and not stopped and deadline is not None and ended is not None and ended >= deadline
    limit = (inspected.get("HostConfig") or {}).get("Memory")
    unexplained = code == _KILLED and bool(limit) and not (stopped or timed_out)
    oom = bool(state.get("OOMKilled")) or (unexplained and not tells_oom)
    evidence: dict[str, Any] = {"runtime": "docker", "container": str(inspected["Id"])[:12], "started": True}
    if state.get("Error"):
        evidence["message"] = str(state["Error"])[:1000]
    return Outcome(
        exit_code=None if signal is not None else code,
        signal=signal,
        verdict=verdict,
        evidence=evidence,
        oom=oom,
        timed_out=timed_out,
        stopped=stopped,
        usage=None if verdict is None else verdict.usage,
        image=inspected.get("Image") or None,
        started_at=started,
        ended_at=ended,
    )


def verdict_of(archive: tarfile.TarFile) -> Verdict | None:
    """Return the verdict in an archive of its file, None if it holds none.

    :raises UnreadableVerdictError: what it holds cannot be read.
    """
    for member in archive.getmembers():
        content = archive.extractfile(member)
        if content is not None:
            return read_verdict(content.read())
    return None


def events_of(archive: tarfile.TarFile) -> tuple[dict[str, Any], ...]:
    """Return the events in an archive of their file, without the attempt's identity."""
    for member in archive.getmembers():
        content = archive.extractfile(member)
        if content is not None:
            return tuple(map(without_identity, read_events(content.read(_EVENTS_LIMIT))))
    return ()


def _timeout(inspected: Mapping[str, Any]) -> float | None:
    text = ((inspected.get("Config") or {}).get("Labels") or {}).get(_TIMEOUT_LABEL)
    return None if text is None else float(text)


def _moment(text: str | None) -> datetime | None:
    """Return a time, None for the year 1, with which the engine says "never"."""
    return None if not text or text.startswith("0001-") else datetime.fromisoformat(text)
