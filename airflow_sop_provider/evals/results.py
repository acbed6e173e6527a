"""The results of a run, appended line by line, so that nothing is lost by whatever ends it.

A run begins with a line that says so and ends with one. Found without its end, it is gone on with: cases
whose text, SOP and recorded results are the same (`key`) are taken from the file, others run again.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import secrets
from pathlib import Path
from types import TracebackType
from typing import Any

from airflow_sop_provider.evals.models import Case
from airflow_sop_provider.evals.scores import CaseResult
from airflow_sop_provider.evals.suite import LoadedSuite

__all__ = ["ResultsFile", "ResultsInUseError", "case_key"]


class ResultsInUseError(RuntimeError):
    """Another run writes the file."""


def case_key(suite: LoadedSuite, case: Case, where: str) -> str:
    """Return the digest of everything a case's result depends on that we can see.

    :param where: where it runs: ``in-process``, or the address of an Airflow.
    """
    parts = [
        where,
        suite.loaded.sha256,
        suite.suite.model_dump_json(exclude={"cases", "recorded", "thresholds"}),
        case.model_dump_json(exclude_unset=True),
        *(one.model_dump_json(exclude_unset=True) for one in suite.recorded),
    ]
    return hashlib.sha256("\x1f".join(parts).encode("utf-8", "surrogatepass")).hexdigest()


class ResultsFile:
    """The file of a suite's results, held for one run; a context manager.

    :ivar token: identity of the run, the same when it is gone on with.
    :ivar done: results of this run by case key, from before it was interrupted.
    :raises ResultsInUseError: another process holds it.
    """

    def __init__(self, path: Path, *, anew: bool = False) -> None:
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(self._descriptor)
            raise ResultsInUseError(
                f"{path} is being written by another run. Wait for it, or use --results."
            ) from error
        content = path.read_bytes()
        self.token, self.done = _unfinished(content)
        if content and not content.endswith(b"\n"):
            self._write(b"\n")  # a line that was cut off; it does not count
        if anew or not self.token:
            self.token, self.done = secrets.token_hex(4), {}
            self._line({"kind": "begin", "run": self.token})

    def __enter__(self) -> ResultsFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.fsync(self._descriptor)
        os.close(self._descriptor)

    def add(self, key: str, result: CaseResult) -> None:
        """Append the result of a case."""
        self._line({"kind": "case", "key": key, "result": result.model_dump(mode="json")})

    def end(self) -> None:
        """Append that every case is done: the next run begins anew."""
        self._line({"kind": "end", "run": self.token})

    def _line(self, record: dict[str, Any]) -> None:
        self._write(json.dumps(record).encode() + b"\n")

    def _write(self, data: bytes) -> None:
        while data:
            data = data[os.write(self._descriptor, data) :]


def _unfinished(content: bytes) -> tuple[str, dict[str, CaseResult]]:
    """Return token and results of the last run in a file, no token if it came to its end."""
    token = ""
    done: dict[str, CaseResult] = {}
    for line in content.split(b"\n"):
        try:
            record = json.loads(line)
            kind = record["kind"]
            if kind == "begin":
                token, done = str(record["run"]), {}
            elif kind == "end":
                token, done = "", {}
            elif kind == "case":
                done[str(record["key"])] = CaseResult.model_validate(record["result"])
        except (ValueError, KeyError, TypeError):
            continue  # cut off, or not ours
    return token, done
