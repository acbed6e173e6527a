"""One attempt from beginning to end: whatever happens inside, a verdict and an exit code come out."""

from __future__ import annotations

import os
import signal
import time
import traceback
from datetime import UTC, datetime
from types import FrameType
from typing import Any

from airflow_sop_provider.contract.exit_codes import ErrorType
from airflow_sop_provider.contract.verdict import Usage, Verdict, VerdictError
from airflow_sop_provider.runner.failures import StepFailureError, StepSkippedError
from airflow_sop_provider.runner.reporting import Reporter
from airflow_sop_provider.runner.step_context import StepContext
from airflow_sop_provider.runner.usage import UsageMeter

__all__ = ["CRASH_EXIT", "TERMINATED_EXIT", "Attempt"]

CRASH_EXIT = 1
TERMINATED_EXIT = 128 + signal.SIGTERM
_TRACEBACK_TAIL = 8000  # characters


class Attempt:
    """Runs a step, ends it on SIGTERM, and reports.

    :param started_at: when the process began to work on the attempt.
    :param stop_grace: seconds that a command gets to end after SIGTERM.
    """

    def __init__(self, context: StepContext, reporter: Reporter, started_at: datetime, stop_grace: float) -> None:
        self._context = context
        self._reporter = reporter
        self._started_at = started_at
        self._stop_grace = stop_grace
        self._meter = UsageMeter()
        self._over = False

    def run(self) -> int:
        """Execute the step, report, and return the process's exit code."""
        signal.signal(signal.SIGTERM, self._terminate)
        verdict, code = self.execute()
        self._over = True  # from here on SIGTERM comes too late to change the verdict
        self._reporter.report(verdict, code)
        return code

    def execute(self) -> tuple[Verdict, int]:
        """Execute the step and return its verdict and exit code; reports nothing and never raises."""
        try:
            from airflow_sop_provider.runner.steps import execute

            return self._verdict(status="succeeded", outputs=execute(self._context)), os.EX_OK
        except StepSkippedError as skipped:
            return self._verdict(status="skipped", reason=str(skipped)), os.EX_OK
        except StepFailureError as failure:
            return self._failed(failure.error_type, failure.code, failure.message, failure.details), failure.exit_code
        except MemoryError:
            return self._failed(ErrorType.RESOURCE, "out-of-memory", "The step ran out of memory."), CRASH_EXIT
        except Exception as error:
            tail = traceback.format_exc()[-_TRACEBACK_TAIL:]
            message = f"The runner crashed: {error} ({type(error).__name__})."
            return self._failed(ErrorType.CRASH, "crash", message, {"traceback": tail}), CRASH_EXIT

    def _terminate(self, _signal: int, _frame: FrameType | None) -> None:
        """Stop the work and report at once; what the step would have said next no longer counts.

        The process ends from here: unwinding through whatever is running (an event loop, a
        transport that waits for its server) could take longer than the runtime's grace.
        The type is ``crash``: who stops an attempt on purpose knows it and does not ask for the
        type; a container stopped by others (a drained node) deserves a fresh one.
        """
        if self._over:
            return
        self._over = True
        self._end_children()
        message = "The attempt was stopped by SIGTERM before it was done."
        self._reporter.report(self._failed(ErrorType.CRASH, "cancelled", message, {}), TERMINATED_EXIT)
        os._exit(TERMINATED_EXIT)

    def _end_children(self) -> None:
        """Forward SIGTERM, wait for the grace period, then SIGKILL.

        ``os.waitid`` leaves the child to be reaped: the code this interrupts may be doing just that.
        """
        deadline = time.monotonic() + self._stop_grace
        for child in list(self._context.children):
            try:
                os.kill(child, signal.SIGTERM)
                while os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
                    if time.monotonic() > deadline:
                        os.kill(child, signal.SIGKILL)
                        break
                    time.sleep(0.01)
            except (ProcessLookupError, ChildProcessError):
                continue  # it ended meanwhile

    def _failed(self, error_type: ErrorType, code: str, message: str, details: dict[str, Any] | None = None) -> Verdict:
        clean = self._context.redactor.clean({"message": message, "details": details or {}})
        return self._verdict(status="failed", error=VerdictError(type=error_type, code=code, **clean))

    def _verdict(self, **parts: Any) -> Verdict:
        return Verdict(
            started_at=self._started_at,
            ended_at=datetime.now(UTC),
            first_action_seconds=self._context.first_action_seconds,
            usage=self._usage(),
            **parts,
        )

    def _usage(self) -> Usage:
        usage, agent = self._meter.read(), self._context.agent_usage
        return usage if agent is None else usage.model_copy(update=agent())
