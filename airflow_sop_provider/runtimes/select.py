"""Which runtime an installation uses: asked for by name, or chosen."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from airflow_sop_provider.contract.exit_codes import ErrorType
from airflow_sop_provider.runtimes.base import Runtime, RuntimeFailedError
from airflow_sop_provider.runtimes.local import LocalRuntime

__all__ = ["RuntimeSettings", "RuntimeUnknownError", "open_runtime"]

_KNOWN = ("local",)


class RuntimeUnknownError(RuntimeFailedError):
    """The configured runtime does not exist."""


@dataclass(frozen=True, kw_only=True)
class RuntimeSettings:
    """What runtimes need from the site's configuration.

    :param work_folder: where the local runtime keeps its attempts.
    :param scan_seconds: pause between looks at memory and time of local attempts.
    """

    work_folder: Path
    scan_seconds: float = 0.2


def open_runtime(name: str, settings: RuntimeSettings) -> Runtime:
    """Return the runtime called ``name``; ``auto`` takes the best one this site has.

    :raises RuntimeUnknownError: there is no such runtime.
    """
    if name in ("auto", "local"):
        return LocalRuntime(settings.work_folder, interval=settings.scan_seconds)
    raise RuntimeUnknownError(
        f"unknown runtime {name!r}: set it to `auto` or one of {', '.join(f'`{known}`' for known in _KNOWN)}",
        error_type=ErrorType.PERMANENT,
        code="unknown-runtime",
    )
