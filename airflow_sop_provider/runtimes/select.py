"""Which runtime an installation uses: asked for by name, or chosen."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from airflow_sop_provider.contract.exit_codes import ErrorType
from airflow_sop_provider.runtimes.base import Runtime, RuntimeFailedError
from airflow_sop_provider.runtimes.local import LocalRuntime

__all__ = ["RuntimeSettings", "RuntimeUnknownError", "open_runtime"]

_KNOWN = ("kubernetes", "local")


class RuntimeUnknownError(RuntimeFailedError):
    """The configured runtime does not exist."""


@dataclass(frozen=True, kw_only=True)
class RuntimeSettings:
    """What runtimes need from the site's configuration.

    :param work_folder: where the local runtime keeps its attempts.
    :param scan_seconds: pause between looks at memory and time of local attempts.
    :param namespace: where pods are.
    :param pod_start_seconds: how long a pod may take to start before it goes back to the queue.
    """

    work_folder: Path
    scan_seconds: float = 0.2
    namespace: str = "default"
    pod_start_seconds: float = 600.0


def open_runtime(name: str, settings: RuntimeSettings) -> Runtime:
    """Return the runtime called ``name``; ``auto`` takes the best one this site has.

    :raises RuntimeUnknownError: there is no such runtime.
    """
    if name in ("auto", "local"):
        return LocalRuntime(settings.work_folder, interval=settings.scan_seconds)
    if name == "kubernetes":
        # the client's import takes a second, which only who uses it should pay
        from airflow_sop_provider.runtimes.kubernetes import KubernetesRuntime, connect_by_environment

        return KubernetesRuntime(
            connect_by_environment(), namespace=settings.namespace, start_seconds=settings.pod_start_seconds
        )
    raise RuntimeUnknownError(
        f"unknown runtime {name!r}: set it to `auto` or one of {', '.join(f'`{known}`' for known in _KNOWN)}",
        error_type=ErrorType.PERMANENT,
        code="unknown-runtime",
    )
