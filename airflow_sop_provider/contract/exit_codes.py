"""Exit codes of a runner and the error types they stand for.

The codes are those of BSD ``sysexits.h``; design section 7 fixes their meaning, section 8 what
follows from each type. A verdict is preferred where one was written: the exit code is what is
left when a verdict could not be read.
"""

from __future__ import annotations

from enum import IntEnum, StrEnum

__all__ = ["EXIT_CODE_OF", "ErrorType", "ExitCode", "error_type_of_exit_code"]


class ErrorType(StrEnum):
    """Why an attempt did not succeed; decides what happens next (design, section 8)."""

    TRANSIENT = "transient"
    PERMANENT = "permanent"
    RESOURCE = "resource"
    CRASH = "crash"
    REQUEUE = "requeue"


class ExitCode(IntEnum):
    """Exit codes a runner uses on purpose (``sysexits.h``)."""

    OK = 0
    BAD_DATA = 65
    NOT_RETRYABLE = 69
    TRANSIENT = 75
    NOT_ALLOWED = 77
    BAD_CONFIGURATION = 78


_PERMANENT = frozenset({ExitCode.BAD_DATA, ExitCode.NOT_RETRYABLE, ExitCode.NOT_ALLOWED, ExitCode.BAD_CONFIGURATION})

EXIT_CODE_OF: dict[ErrorType, ExitCode | None] = {
    ErrorType.TRANSIENT: ExitCode.TRANSIENT,
    ErrorType.PERMANENT: ExitCode.NOT_RETRYABLE,
    ErrorType.RESOURCE: None,
    ErrorType.CRASH: None,
    ErrorType.REQUEUE: None,
}
"""The exit code a runner uses when it only knows the type; None: a runner never claims this type."""


def error_type_of_exit_code(code: int) -> ErrorType | None:
    """Return the error type of a process's exit code, None for success.

    :param code: exit code; a negative number or one above 128 means "ended by a signal".
    """
    if code == ExitCode.OK:
        return None
    if code == ExitCode.TRANSIENT:
        return ErrorType.TRANSIENT
    if code in _PERMANENT:
        return ErrorType.PERMANENT
    return ErrorType.CRASH
