"""What follows from an error type: try again, when, and with how much memory (design, section 8).

Pure functions of the attempt's number, so that the same decision is reached by an executor that
was restarted in between, and so that the delays are exact.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from airflow_sop_provider.contract.exit_codes import ErrorType

__all__ = ["DEFAULT_MAX_RETRIES", "Action", "Decision", "RetryPolicy", "next_memory"]

DEFAULT_MAX_RETRIES = 3
_RUNG = 2

Action = Literal["retry", "fail", "requeue"]


@dataclass(frozen=True, kw_only=True)
class Decision:
    """What to do about a failed attempt.

    :param delay_seconds: how long to wait before; 0 for ``fail``.
    :param reason: one sentence for the task's history.
    :param memory_bytes: memory limit of the next attempt; None to leave it as it is.
    """

    action: Action
    delay_seconds: float
    reason: str
    memory_bytes: int | None = None


def next_memory(memory_bytes: int, max_memory_bytes: int | None) -> int | None:
    """Return the next rung: twice as much, at most the cap; None when the cap is reached.

    :param max_memory_bytes: the SOP's cap; None for none, then only the number of retries bounds it.
    """
    rung = memory_bytes * _RUNG
    if max_memory_bytes is not None:
        rung = min(rung, max_memory_bytes)
    return rung if rung > memory_bytes else None


@dataclass(frozen=True, kw_only=True)
class RetryPolicy:
    """The policy of an installation.

    :param base_delay_seconds: delay before the first retry; each further one doubles it.
    :param requeue_delay_seconds: pause before an attempt that never started is tried again.
    :param requeue_limit_seconds: how long an attempt may go without starting before that is a failure.
    """

    base_delay_seconds: float = 1.0
    requeue_delay_seconds: float = 5.0
    requeue_limit_seconds: float = 3600.0

    def delay(self, attempt: int) -> float:
        """Return the seconds to wait after attempt number ``attempt`` (from 1) failed: 1, 2, 4, ..."""
        return self.base_delay_seconds * 2.0 ** (attempt - 1)

    def decide(
        self,
        error_type: ErrorType,
        attempt: int,
        max_retries: int = DEFAULT_MAX_RETRIES,
        *,
        memory_bytes: int | None = None,
        max_memory_bytes: int | None = None,
        waited_seconds: float = 0.0,
    ) -> Decision:
        """Return what to do after an attempt failed.

        :param attempt: number of the attempt that failed, from 1.
        :param max_retries: retries after the first attempt.
        :param memory_bytes: memory limit the attempt ran out of; None if it was not memory that it lacked.
        :param max_memory_bytes: cap of memory, None for none.
        :param waited_seconds: for ``requeue``: since when the attempt has been waiting to start.
        :raises ValueError: ``attempt`` is below 1 or ``max_retries`` below 0.
        """
        if attempt < 1 or max_retries < 0:
            raise ValueError(f"attempts count from 1 and retries from 0, got {attempt} and {max_retries}")
        if error_type is ErrorType.REQUEUE:
            return self._requeue(waited_seconds)
        if error_type is ErrorType.PERMANENT:
            return _fail("permanent failure: not retried, because trying again cannot help")
        if attempt > max_retries:
            return _fail(f"{error_type} failure: all {max_retries} retries are used")
        if error_type is ErrorType.RESOURCE and memory_bytes is not None:
            return self._more_memory(attempt, max_retries, memory_bytes, max_memory_bytes)
        return self._retry(error_type, attempt, max_retries)

    def _retry(self, error_type: ErrorType, attempt: int, max_retries: int) -> Decision:
        delay = self.delay(attempt)
        reason = f"{error_type} failure: retry {attempt} of {max_retries} in {delay:g} s"
        return Decision(action="retry", delay_seconds=delay, reason=reason)

    def _more_memory(self, attempt: int, max_retries: int, memory_bytes: int, max_memory_bytes: int | None) -> Decision:
        rung = next_memory(memory_bytes, max_memory_bytes)
        if rung is None:
            return _fail(f"resource failure: {memory_bytes} bytes of memory are the cap and were not enough")
        delay = self.delay(attempt)
        reason = f"resource failure: retry {attempt} of {max_retries} in {delay:g} s with {rung} bytes of memory"
        return Decision(action="retry", delay_seconds=delay, reason=reason, memory_bytes=rung)

    def _requeue(self, waited_seconds: float) -> Decision:
        if waited_seconds >= self.requeue_limit_seconds:
            return _fail(f"never started within {self.requeue_limit_seconds:g} s; see the runtime's capacity and quota")
        delay = min(self.requeue_delay_seconds, self.requeue_limit_seconds - waited_seconds)
        return Decision(
            action="requeue", delay_seconds=delay, reason="never started: back to the queue, no attempt used"
        )


def _fail(reason: str) -> Decision:
    return Decision(action="fail", delay_seconds=0.0, reason=reason)
