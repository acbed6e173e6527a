"""How a step says that it failed: one exception that carries the verdict's error and the exit code."""

from __future__ import annotations

from typing import Any

from airflow_sop_provider.contract.exit_codes import ErrorType, ExitCode

__all__ = ["StepFailureError", "StepSkippedError", "bad_configuration", "bad_data", "not_allowed", "transient"]


class StepFailureError(Exception):
    """The step failed in a way that is understood.

    :param code: short stable identifier, documented in the runner's README.
    :param message: what happened and what to do about it.
    :param details: evidence; JSON values only, no secrets.
    """

    def __init__(
        self,
        error_type: ErrorType,
        exit_code: int,
        code: str,
        message: str,
        details: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(message)
        self.error_type = error_type
        self.exit_code = exit_code
        self.code = code
        self.message = message
        self.details = details or {}


class StepSkippedError(Exception):
    """The step's ``when`` is false; not a failure, but it ends the step wherever it is found."""


def bad_data(code: str, message: str, **details: Any) -> StepFailureError:
    """Return a failure caused by values (exit 65, permanent)."""
    return StepFailureError(ErrorType.PERMANENT, ExitCode.BAD_DATA, code, message, details)


def not_allowed(code: str, message: str, **details: Any) -> StepFailureError:
    """Return a refusal (exit 77, permanent)."""
    return StepFailureError(ErrorType.PERMANENT, ExitCode.NOT_ALLOWED, code, message, details)


def bad_configuration(code: str, message: str, **details: Any) -> StepFailureError:
    """Return a failure that only a change of configuration can heal (exit 78, permanent)."""
    return StepFailureError(ErrorType.PERMANENT, ExitCode.BAD_CONFIGURATION, code, message, details)


def transient(code: str, message: str, **details: Any) -> StepFailureError:
    """Return a failure that may be gone on the next attempt (exit 75)."""
    return StepFailureError(ErrorType.TRANSIENT, ExitCode.TRANSIENT, code, message, details)
