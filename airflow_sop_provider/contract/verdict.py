"""The verdict: what one attempt came to, written by the runner, read by runtimes and executor.

The whole verdict goes to a file (later: the engine); a copy that always fits into a container's
termination message survives when nothing else can be reached. Kubernetes keeps at most 4,096
bytes of it, hence the limit and the order in which parts are dropped.
"""

from __future__ import annotations

import hashlib
from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from airflow_sop_provider.contract.exit_codes import ErrorType

__all__ = [
    "TERMINATION_MESSAGE_LIMIT",
    "UnreadableVerdictError",
    "Usage",
    "Verdict",
    "VerdictError",
    "VerdictStatus",
    "read_verdict",
]

TERMINATION_MESSAGE_LIMIT = 4096
"""Bytes a container's termination message may hold (Kubernetes API, ``terminationMessagePath``)."""

VerdictStatus = Literal["succeeded", "failed", "skipped"]


class UnreadableVerdictError(ValueError):
    """A verdict is there and cannot be read; the message names what of it.

    :param foreign: it is whole JSON and no verdict that this release knows, as a runner of another release writes it:
        another attempt would come to the same.
    """

    def __init__(self, message: str, *, foreign: bool) -> None:
        super().__init__(message)
        self.foreign = foreign

    def as_evidence(self, where: str) -> dict[str, Any]:
        """Return it as a runtime notes it for `engine.failures`.

        :param where: what the verdict was read from.
        """
        return {"verdict_problem": f"{where}: {self}", **({"verdict_foreign": True} if self.foreign else {})}


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Usage(_Model):
    """What an attempt used. A value that could not be measured is None, never 0.

    The last seven are of agents, and cumulative: they hold what earlier attempts of the step spent.

    :param input_tokens: tokens of all prompts.
    :param output_tokens: tokens of all answers.
    :param cost: by the site's prices, None without prices.
    :param repairs: how often the model was asked again because its answer did not fit.
    :param agent_seconds: wall-clock time that agents worked.
    """

    peak_memory_bytes: int | None = None
    cpu_seconds: float | None = None
    wall_seconds: float | None = None
    network_received_bytes: int | None = None
    network_sent_bytes: int | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    model_calls: int | None = None
    tool_calls: int | None = None
    cost: float | None = None
    repairs: int | None = None
    agent_seconds: float | None = None


class VerdictError(_Model):
    """Why an attempt failed.

    :param type: the error type that decides what happens next.
    :param code: short stable identifier, for example ``outputs-schema`` or ``mcp-timeout``.
    :param message: one or two sentences for a person, with the remedy.
    :param details: evidence; JSON values only, no secrets.
    """

    type: ErrorType
    code: str
    message: str
    details: dict[str, Any] = Field(default_factory=dict)


class Verdict(_Model):
    """What one attempt came to.

    :param outputs: the step's outputs (JSON value); None unless it succeeded.
    :param reason: for ``skipped``: why.
    :param events: what the runner recorded and the engine had not acknowledged (`audit.event_lines`), without the
        attempt's identity; every one of them where no engine can be reached.
    :param outputs_dropped: True only in a shortened copy whose outputs did not fit.
    :param events_dropped: number of events that did not fit into a shortened copy.
    :param whole: only in such a copy: SHA-256 (hex) of the whole verdict, which is to be found elsewhere.
    """

    status: VerdictStatus
    outputs: Any = None
    error: VerdictError | None = None
    reason: str | None = None
    usage: Usage = Usage()
    started_at: datetime | None = None
    ended_at: datetime | None = None
    first_action_seconds: float | None = None
    events: tuple[dict[str, Any], ...] = ()
    outputs_dropped: bool = False
    events_dropped: int = 0
    whole: str | None = None

    def to_termination_message(self, limit: int = TERMINATION_MESSAGE_LIMIT) -> bytes:
        """Return the verdict as JSON of at most ``limit`` bytes: events go first, then details, outputs, text."""
        shortened = self
        for shorten in (_keep, _without_events, _without_details, _without_outputs, _with_short_text):
            shortened = shorten(shortened)
            if shortened.outputs_dropped or shortened.events_dropped:
                shortened = shortened.model_copy(update={"whole": self.digest()})
            message = shortened.encoded()
            if len(message) <= limit:
                return message
        return Verdict(status=self.status, outputs_dropped=True).encoded()

    def encoded(self) -> bytes:
        """Return it as JSON."""
        return self.model_dump_json(exclude_none=True, exclude=None if self.events else {"events"}).encode()

    def digest(self) -> str:
        """Return the SHA-256 (hex) of its JSON."""
        return hashlib.sha256(self.encoded()).hexdigest()

    def fits_termination_message(self, limit: int = TERMINATION_MESSAGE_LIMIT) -> bool:
        """Return whether its outputs and events are in the copy of at most ``limit`` bytes."""
        copy = Verdict.model_validate_json(self.to_termination_message(limit))
        return not copy.outputs_dropped and not copy.events_dropped


def read_verdict(text: str | bytes) -> Verdict:
    """Return the verdict that a runner has written.

    :raises UnreadableVerdictError: it is none, or one of a release that says more than this one knows.
    """
    try:
        return Verdict.model_validate_json(text)
    except ValidationError as error:
        found = error.errors(include_url=False)
        places = (f"{'.'.join(map(str, one['loc']))}: {one['msg']}".removeprefix(": ") for one in found[:3])
        raise UnreadableVerdictError("; ".join(places), foreign=found[0]["type"] != "json_invalid") from error


def _keep(verdict: Verdict) -> Verdict:
    return verdict


def _without_events(verdict: Verdict) -> Verdict:
    return verdict.model_copy(update={"events": (), "events_dropped": len(verdict.events)})


def _without_details(verdict: Verdict) -> Verdict:
    if verdict.error is None:
        return verdict
    return verdict.model_copy(update={"error": verdict.error.model_copy(update={"details": {}})})


def _without_outputs(verdict: Verdict) -> Verdict:
    return verdict.model_copy(update={"outputs": None, "outputs_dropped": verdict.outputs is not None})


def _with_short_text(verdict: Verdict) -> Verdict:
    error = verdict.error
    if error is not None:
        error = error.model_copy(update={"code": error.code[:64], "message": error.message[:500]})
    return verdict.model_copy(update={"error": error, "reason": (verdict.reason or "")[:500] or None})
