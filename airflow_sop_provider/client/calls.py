"""What is sent to the engine and what its answers mean; no connection here, so both clients agree."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import quote

import httpx

__all__ = ["Call", "EngineError", "ExecutionStatus", "NotAllowedError", "RefusedError", "cancel_call", "checked"]
__all__ += [
    "answer_call",
    "approvals_call",
    "change_mode_call",
    "execution_call",
    "export_call",
    "list_call",
    "mode_call",
    "parts_of",
    "snapshot_call",
    "status_call",
    "status_of",
    "submit_call",
]

_BASE = "/sop/api/v1"
_FINAL = frozenset({"COMPLETED", "PARTIALLY_COMPLETED", "FAILED", "CANCELLED"})


class EngineError(Exception):
    """The engine did not do what it was asked; the message says why.

    :ivar status: HTTP status, None if there was no answer.
    """

    def __init__(self, message: str, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


class NotAllowedError(EngineError):
    """Who calls is not known, or may not do this."""


class RefusedError(EngineError):
    """It cannot be done, and nothing was: an unknown or paused SOP, another mode, inputs that do not fit."""


@dataclass(frozen=True, kw_only=True)
class Call:
    """One request.

    :param repeatable: whether it may be sent again when no answer came.
    """

    method: str
    path: str
    json: Any = None
    params: Mapping[str, Any] | None = None
    headers: Mapping[str, str] | None = None
    repeatable: bool = True


@dataclass(frozen=True, kw_only=True)
class ExecutionStatus:
    """Where an execution stands.

    :param execution: its id, ``sop/run_id``.
    :param status: SUBMITTED, QUEUED, RUNNING, COMPLETED, PARTIALLY_COMPLETED, FAILED or CANCELLED.
    :param progress: share of the steps that are over, 0 to 1.
    :param elapsed_seconds: since its first attempt began, until its end.
    """

    execution: str
    status: str
    progress: float
    elapsed_seconds: float | None
    current_steps: tuple[str, ...]
    steps: Mapping[str, str]
    flagged: bool

    @property
    def is_final(self) -> bool:
        """Whether nothing follows any more."""
        return self.status in _FINAL


def submit_call(
    sop: str,
    inputs: Mapping[str, Any] | None,
    execution_mode: str,
    priority: str | None,
    schedule: Mapping[str, Any] | None,
    key: str,
) -> Call:
    """Return the request that starts an execution; the key lets it be sent again without starting another."""
    body: dict[str, Any] = {"inputs": dict(inputs or {}), "execution_mode": execution_mode}
    if priority is not None:
        body["priority"] = priority
    if schedule is not None:
        body["schedule"] = {name: _plain(value) for name, value in schedule.items()}
    path = f"{_BASE}/sops/{quote(sop, safe='')}/executions"
    return Call(method="POST", path=path, json=body, headers={"Idempotency-Key": key})


def execution_call(execution: str) -> Call:
    """Return the request for an execution with its attempts and result."""
    return Call(method="GET", path=_path(execution))


def export_call(execution: str) -> Call:
    """Return the request for the archive of everything of an execution."""
    return Call(method="GET", path=f"{_path(execution)}/export")


def status_call(execution: str) -> Call:
    """Return the request for where an execution stands."""
    return Call(method="GET", path=f"{_path(execution)}/status")


def cancel_call(execution: str, reason: str | None) -> Call:
    """Return the request that cancels an execution."""
    return Call(method="POST", path=f"{_path(execution)}/cancel", json={"reason": reason}, repeatable=False)


def snapshot_call(sop: str, servers: Mapping[str, Sequence[str]]) -> Call:
    """Return the request that takes an SOP's tools as validated."""
    body = {"servers": {server: list(tools) for server, tools in servers.items()}}
    return Call(method="PUT", path=f"{_BASE}/fleet/snapshots/{quote(sop, safe='')}", json=body)


def mode_call(sop: str) -> Call:
    """Return the request for the mode of a control."""
    return Call(method="GET", path=f"{_BASE}/sops/{quote(sop, safe='')}/mode")


def change_mode_call(sop: str, mode: str, reason: str | None) -> Call:
    """Return the request that changes it; the same again changes nothing."""
    body = {"mode": mode, "reason": reason}
    return Call(method="PUT", path=f"{_BASE}/sops/{quote(sop, safe='')}/mode", json=body)


def approvals_call(filters: Mapping[str, Any]) -> Call:
    """Return the request for a page of approvals."""
    params = {name: value for name, value in filters.items() if value is not None}
    return Call(method="GET", path=f"{_BASE}/approvals", params=params)


def answer_call(sop: str, approval: int, choice: str, comment: str | None, meaning: str | None) -> Call:
    """Return the request that answers an approval; sent twice, the second one would be refused."""
    body = {"choice": choice, "comment": comment, "meaning": meaning}
    path = f"{_BASE}/sops/{quote(sop, safe='')}/approvals/{approval}/answers"
    return Call(method="POST", path=path, json=body, repeatable=False)


def list_call(filters: Mapping[str, Any]) -> Call:
    """Return the request for a page of executions."""
    params = {name: _plain(value) for name, value in filters.items() if value is not None}
    return Call(method="GET", path=f"{_BASE}/executions", params=params)


def parts_of(execution: str) -> tuple[str, str]:
    """Return SOP id and run id of an execution's id.

    :raises EngineError: it is no such id.
    """
    sop, separator, run_id = execution.partition("/")
    if not (sop and separator and run_id):
        raise EngineError(f"`{execution}` is no execution; give SOP/RUN_ID, as `sop list` shows them")
    return sop, run_id


def status_of(body: Mapping[str, Any]) -> ExecutionStatus:
    """Return an answer of the status endpoint as an object."""
    return ExecutionStatus(
        execution=body["execution"],
        status=body["status"],
        progress=body["progress"],
        elapsed_seconds=body["elapsed_seconds"],
        current_steps=tuple(body["current_steps"]),
        steps=body["steps"],
        flagged=body["flagged"],
    )


def checked(answer: httpx.Response) -> Any:
    """Return the JSON of an answer, or the bytes of an archive.

    :raises NotAllowedError: 401 or 403.
    :raises RefusedError: another 4xx; the message is the engine's.
    :raises EngineError: anything else.
    """
    if answer.is_success:
        if answer.headers.get("Content-Type") == "application/zip":
            return answer.content
        try:
            return answer.json()
        except ValueError:
            raise EngineError(f"{answer.request.url} answers, but it is no SOP engine", answer.status_code) from None
    reason = _reason(answer)
    if answer.status_code in (401, 403):
        raise NotAllowedError(reason, answer.status_code)
    if 400 <= answer.status_code < 500:
        raise RefusedError(reason, answer.status_code)
    raise EngineError(f"{answer.request.url} answered {answer.status_code}: {reason}", answer.status_code)


def _path(execution: str) -> str:
    sop, run_id = parts_of(execution)
    return f"{_BASE}/sops/{quote(sop, safe='')}/executions/{quote(run_id, safe='')}"


def _plain(value: Any) -> Any:
    return value.isoformat() if isinstance(value, datetime) else value


def _reason(answer: httpx.Response) -> str:
    try:
        detail = answer.json()["detail"]
    except (ValueError, KeyError, TypeError):
        return answer.text[:500] or answer.reason_phrase
    if isinstance(detail, str):
        return detail
    problems = [
        f"{'.'.join(map(str, one.get('loc', ())))}: {one.get('msg')}" for one in detail if isinstance(one, dict)
    ]
    return "; ".join(problems) or str(detail)
