"""From evidence to error type: the one place that says why an attempt did not succeed.

Every runtime reduces what it saw (an exit code, a verdict, a pod's reason, the answer of an API) to
an `Evidence`, and `classify` turns that into a `Failure`, a pure function, so that a recorded case
can be replayed and the same evidence always means the same. Design, section 8, is the table.

The order is deliberate. A verdict of success is written as the last act, so what happens to the
process afterwards does not undo it. What the runtime did or saw from outside (memory, time, a
stop) explains a failure better than what the runner could still say about it. Then comes
the runner's own word, and the exit code only where there is none.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from airflow_sop_provider.contract.exit_codes import ErrorType, error_type_of_exit_code
from airflow_sop_provider.contract.verdict import Verdict
from airflow_sop_provider.runtimes.base import Outcome, RuntimeFailedError

__all__ = ["Evidence", "Failure", "classify"]

Scarce = Literal["memory", "storage", "time"]


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """What was seen of an attempt that is over.

    :param exit_code: of its program, None if unknown or ended by a signal.
    :param signal: number of the signal that ended it.
    :param started: False if its program never began.
    :param oom: ended because it used more memory than allowed.
    :param timed_out: ended because its time was over.
    :param stopped: ended because someone asked for it.
    :param reason: the runtime's word for it, such as ``OOMKilled`` or ``ImagePullBackOff``; see the tables below.
    :param api_status: HTTP status of the runtime's API when a call for the attempt failed.
    :param details: further JSON values, kept for the audit log.
    """

    exit_code: int | None = None
    signal: int | None = None
    verdict: Verdict | None = None
    started: bool = True
    oom: bool = False
    timed_out: bool = False
    stopped: bool = False
    reason: str | None = None
    api_status: int | None = None
    details: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, outcome: Outcome) -> Evidence:
        """Return the evidence in a runtime's outcome."""
        return cls(
            exit_code=outcome.exit_code,
            signal=outcome.signal,
            verdict=outcome.verdict,
            oom=outcome.oom,
            timed_out=outcome.timed_out,
            stopped=outcome.stopped,
            started=bool(outcome.evidence.get("started", True)),
            reason=outcome.evidence.get("reason"),
            api_status=outcome.evidence.get("api_status"),
            details=outcome.evidence,
        )

    def as_dict(self) -> dict[str, Any]:
        """Return what is set, as JSON values."""
        plain = {
            "exit_code": self.exit_code,
            "signal": self.signal,
            "started": self.started,
            "oom": self.oom or None,
            "timed_out": self.timed_out or None,
            "stopped": self.stopped or None,
            "reason": self.reason,
            "api_status": self.api_status,
        }
        return {**self.details, **{name: value for name, value in plain.items() if value is not None}}


@dataclass(frozen=True, kw_only=True)
class Failure:
    """Why an attempt did not succeed.

    :param code: short stable identifier.
    :param message: for a person, with the remedy where there is one.
    :param scarce: for ``resource``: of what there was too little; only ``memory`` has a next rung.
    """

    type: ErrorType
    code: str
    message: str
    scarce: Scarce | None = None
    evidence: Mapping[str, Any] = field(default_factory=dict)


_SCARCE_REASONS: dict[str, Scarce] = {
    "OOMKilled": "memory",
    "EvictedMemory": "memory",
    "EvictedStorage": "storage",
    "DeadlineExceeded": "time",
}
_PERMANENT_REASONS = frozenset(
    {"InvalidImageName", "ErrImageNeverPull", "ImageNotFound", "CreateContainerConfigError", "InvalidSpec"}
)
_REQUEUE_REASONS = frozenset({"Preempted", "Evicted", "QuotaExceeded", "NodeLost", "NodeShutdown", "Unschedulable"})
"""Reasons for which an attempt that never started goes back to the queue; one that had started has crashed."""

_MESSAGES: dict[Scarce, str] = {
    "memory": "the attempt used more memory than its limit; raise `resources.memory` or `resources.max_memory`",
    "storage": "the attempt used more disk than its limit; raise `resources.ephemeral_storage`",
    "time": "the attempt took longer than its limit; raise the step's `timeout`",
}


def classify(evidence: Evidence | Outcome | RuntimeFailedError) -> Failure | None:
    """Return why the attempt did not succeed, None if it did.

    Success is a verdict ``succeeded`` or ``skipped``; without a verdict there is no success, whatever the exit code.
    """
    if isinstance(evidence, RuntimeFailedError):
        text = str(evidence)
        return Failure(type=evidence.error_type, code=evidence.code, message=text, evidence=evidence.evidence)
    if isinstance(evidence, Outcome):
        evidence = Evidence.of(evidence)
    verdict = evidence.verdict
    if verdict is not None and verdict.status != "failed":
        if verdict.outputs_dropped:
            text = "the step succeeded, but its outputs did not come back; it runs again"
            return _failure(evidence, ErrorType.CRASH, "outputs-lost", text)
        return None
    return _from_outside(evidence) or _from_api(evidence) or _from_verdict(evidence) or _from_exit(evidence)


def _from_outside(evidence: Evidence) -> Failure | None:
    scarce = _SCARCE_REASONS.get(evidence.reason or "")
    if evidence.oom:
        scarce = "memory"
    elif evidence.timed_out:
        scarce = "time"
    if scarce is not None:
        return _failure(evidence, ErrorType.RESOURCE, f"out-of-{scarce}", _MESSAGES[scarce], scarce)
    if evidence.stopped:
        return _failure(evidence, ErrorType.CRASH, "stopped", "the attempt was stopped from outside before it was done")
    if evidence.reason in _PERMANENT_REASONS:
        text = f"the container cannot be made ({evidence.reason}); correct the step's image or the site's pod template"
        return _failure(evidence, ErrorType.PERMANENT, "bad-container", text)
    if evidence.reason in _REQUEUE_REASONS and not evidence.started:
        text = f"the container never started ({evidence.reason}); it goes back to the queue"
        return _failure(evidence, ErrorType.REQUEUE, "never-started", text)
    return None


def _from_api(evidence: Evidence) -> Failure | None:
    status = evidence.api_status
    if status is None or status < 400:
        return None
    if status == 403 and not evidence.started:
        text = "the cluster's quota left no room for the container; it goes back to the queue"
        return _failure(evidence, ErrorType.REQUEUE, "quota", text)
    if status in (408, 409, 425, 429) or status >= 500:
        text = f"the runtime's API answered {status}; trying again helps"
        return _failure(evidence, ErrorType.TRANSIENT, "runtime-api", text)
    text = f"the runtime's API refused the container with {status}; correct the step or the site's pod template"
    return _failure(evidence, ErrorType.PERMANENT, "runtime-api", text)


def _from_verdict(evidence: Evidence) -> Failure | None:
    error = evidence.verdict.error if evidence.verdict is not None else None
    if error is None:
        return None
    scarce: Scarce | None = "memory" if error.type is ErrorType.RESOURCE else None
    return Failure(
        type=error.type,
        code=error.code,
        message=error.message,
        scarce=scarce,
        evidence={**evidence.as_dict(), **error.details},
    )


def _from_exit(evidence: Evidence) -> Failure:
    if not evidence.started:
        text = "the attempt never started and nothing says why; it goes back to the queue"
        return _failure(evidence, ErrorType.REQUEUE, "never-started", text)
    if evidence.details.get("exec_error"):
        text = f"its program cannot be executed: {evidence.details['exec_error']}"
        return _failure(evidence, ErrorType.PERMANENT, "not-executable", text)
    code = evidence.exit_code
    if code is None and evidence.signal is not None:
        return _failure(evidence, ErrorType.CRASH, "signal", f"signal {evidence.signal} ended the attempt")
    error_type = error_type_of_exit_code(code) if code is not None else ErrorType.CRASH
    if problem := evidence.details.get("verdict_problem"):
        return _from_unreadable(evidence, str(problem), error_type)
    if error_type is None or code is None:
        how = "with exit code 0" if code == 0 else "and its exit code could not be learned"
        return _failure(evidence, ErrorType.CRASH, "no-verdict", f"the attempt ended without a verdict, {how}")
    return _failure(evidence, error_type, f"exit-{code}", f"the attempt ended without a verdict, with exit code {code}")


def _from_unreadable(evidence: Evidence, problem: str, error_type: ErrorType | None) -> Failure:
    """Return the failure of an attempt that has left a verdict which nobody here can read; nothing is guessed of it."""
    text = f"the attempt's verdict cannot be read ({problem})"
    if not evidence.details.get("verdict_foreign"):
        return _failure(evidence, error_type or ErrorType.CRASH, "bad-verdict", f"{text}; was the disk full?")
    text += "; its runner is of another release than this Airflow: install the same airflow-sop-provider in both"
    return _failure(evidence, error_type or ErrorType.PERMANENT, "bad-verdict", text)


def _failure(
    evidence: Evidence, error_type: ErrorType, code: str, message: str, scarce: Scarce | None = None
) -> Failure:
    return Failure(type=error_type, code=code, message=message, scarce=scarce, evidence=evidence.as_dict())
