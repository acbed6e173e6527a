"""What an agent has done so far, kept where the next attempt finds it.

Two stores, because there are two ways to run: with an engine, which keeps it beside the execution, and without, where a
file beside the attempt outlives the program, though not the attempt's folder. `SOP_CHECKPOINT` names another file.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Protocol

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from airflow_sop_provider.contract.engine_access import ENGINE_URL, TOKEN_FILE
from airflow_sop_provider.runner.agents.budget import Spent
from airflow_sop_provider.runner.failures import StepFailureError, bad_configuration, transient

__all__ = [
    "CHECKPOINT_VARIABLE",
    "Call",
    "Checkpoint",
    "EngineCheckpoint",
    "FileCheckpoint",
    "NoCheckpoint",
    "Progress",
    "open_store",
]

CHECKPOINT_VARIABLE = "SOP_CHECKPOINT"
CHECKPOINT_PATH = "/api/v1/runner/checkpoint"
_TIMEOUT = 10.0  # seconds for one request to the engine


class Call(BaseModel):
    """One call of a data source.

    :param key: the same for the same call of the same execution, however often it is tried.
    :param ordinal: the how-manieth call of the tool with these arguments it is, from 0.
    :param effect: it may change something: the tool says neither that it only reads nor that repeating it is harmless.
    :param state: ``begun``: asked, and no answer was seen.
    """

    model_config = ConfigDict(extra="forbid")

    key: str
    step: str
    tool: str
    arguments: dict[str, Any]
    effect: bool
    ordinal: int = 0
    state: Literal["begun", "done", "failed"] = "begun"
    result: Any = None


class Progress(BaseModel):
    """Where an agent stands.

    :param outputs: of the steps that are done, by id, in the order they were done.
    """

    model_config = ConfigDict(extra="forbid")

    version: Literal[1] = 1
    outputs: dict[str, Any] = Field(default_factory=dict)
    calls: list[Call] = Field(default_factory=list)
    spent: Spent = Field(default_factory=Spent)


class Checkpoint(Protocol):
    """Where progress is kept."""

    async def load(self) -> Progress | None:
        """Return what an earlier attempt left, None if there is nothing.

        :raises StepFailureError: it cannot be read; to start over could repeat what was done.
        """

    async def save(self, progress: Progress) -> Spent | None:
        """Keep progress; once this returns, a crash does not lose it.

        :returns: what other steps of the execution have spent, None where nobody knows.
        :raises StepFailureError: it cannot be kept.
        """


class FileCheckpoint:
    """Progress in a file that always holds a whole state."""

    def __init__(self, path: Path) -> None:
        self._path = path

    async def load(self) -> Progress | None:
        """Return what is in the file."""
        try:
            return _parsed(self._path.read_bytes(), str(self._path))
        except FileNotFoundError:
            return None
        except OSError as error:
            raise transient("checkpoint-unreadable", f"The checkpoint {self._path} cannot be read: {error}") from error

    async def save(self, progress: Progress) -> None:
        """Replace the file's content; a file knows of no other step."""
        temporary = self._path.with_name(f".{self._path.name}.{os.getpid()}")
        try:
            with temporary.open("wb") as file:
                os.fchmod(file.fileno(), 0o600)
                file.write(progress.model_dump_json().encode())
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(self._path)
        except OSError as error:
            raise transient("checkpoint-unwritable", f"The checkpoint cannot be written: {error}") from error


class EngineCheckpoint:
    """Progress kept by the engine beside the step of the execution, for all of its attempts.

    :param url: the engine's address.
    :param token_file: read anew for every request, because the token is renewed.
    :param otherwise: for an engine that keeps none (404).
    """

    def __init__(self, url: str, token_file: Path, otherwise: Checkpoint) -> None:
        self._otherwise = otherwise
        self._kept = True
        self._url = f"{url.rstrip('/')}{CHECKPOINT_PATH}"
        self._token_file = token_file

    async def load(self) -> Progress | None:
        """Return what the engine keeps; no content, ``null`` and ``{}`` mean nothing yet."""
        status, content = await self._request("GET")
        if status == 404:
            self._kept = False
            return await self._otherwise.load()
        if content.strip() in (b"", b"null", b"{}"):
            return None
        return _parsed(content, "the engine's checkpoint")

    async def save(self, progress: Progress) -> Spent | None:
        """Have the engine keep progress, and return what it says of the other steps."""
        if not self._kept:
            return await self._otherwise.save(progress)
        _, content = await self._request("PUT", progress.model_dump_json().encode())
        try:
            said = json.loads(content)["spent_elsewhere"] if content.strip() else None
            return None if said is None else Spent.model_validate(said)
        except (ValueError, LookupError, TypeError):
            return None  # an older engine's answer

    async def _request(self, method: str, content: bytes | None = None) -> tuple[int, bytes]:
        import httpx2  # MCP's HTTP library, which every agent has loaded

        try:
            token = self._token_file.read_text().strip()
            headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
            async with httpx2.AsyncClient(timeout=_TIMEOUT, headers=headers) as client:
                response = await client.request(method, self._url, content=content)
        except (OSError, httpx2.HTTPError) as error:
            raise transient("engine-unreachable", f"The engine's checkpoint cannot be reached: {error}") from error
        if response.is_error and not (method == "GET" and response.status_code == 404):
            raise _refused(response.status_code)
        return response.status_code, response.content


class NoCheckpoint:
    """For an attempt inside an author's tool: it has no folder of its own and is never resumed."""

    async def load(self) -> None:
        """Return nothing."""

    async def save(self, progress: Progress) -> None:
        """Keep nothing."""


def open_store(assignment: Path | None, environment: Mapping[str, str] | None = None) -> Checkpoint:
    """Return the store of this attempt.

    :param assignment: the attempt's assignment, beside which it is without an engine; None: nothing is kept.
    """
    source = os.environ if environment is None else environment
    url, token = source.get(ENGINE_URL), source.get(TOKEN_FILE)
    file = _file_store(assignment, source)
    return EngineCheckpoint(url, Path(token), file) if url and token else file


def _file_store(assignment: Path | None, source: Mapping[str, str]) -> Checkpoint:
    if source.get(CHECKPOINT_VARIABLE):
        return FileCheckpoint(Path(source[CHECKPOINT_VARIABLE]))
    return FileCheckpoint(assignment.parent / "checkpoint.json") if assignment is not None else NoCheckpoint()


def _parsed(content: bytes, where: str) -> Progress:
    try:
        return Progress.model_validate(json.loads(content))
    except (ValueError, ValidationError) as error:
        raise bad_configuration(
            "checkpoint-invalid", f"What {where} holds is no checkpoint of this runner: {str(error)[:300]}"
        ) from error


def _refused(status: int) -> StepFailureError:
    message = f"The engine answered HTTP {status} to the checkpoint."
    if status == 429 or status >= 500:
        return transient("engine-unavailable", message, status=status)
    return bad_configuration("engine-refused", f"{message} Check the runner's token.", status=status)
