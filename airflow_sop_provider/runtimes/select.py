"""Which runtime an installation uses: the first of an order that is there."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from airflow_sop_provider.contract.exit_codes import ErrorType
from airflow_sop_provider.runtimes.base import Runtime, RuntimeFailedError
from airflow_sop_provider.runtimes.local import LocalRuntime

__all__ = ["RUNTIMES", "Choice", "RuntimeSettings", "RuntimeUnknownError", "choose_runtime", "open_runtime"]

RUNTIMES = ("kubernetes", "docker", "local")
"""Every runtime, the one that isolates best first: the order of ``auto``."""

_ENGINE_SECONDS = 10.0
_SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount/token")


class RuntimeUnknownError(RuntimeFailedError):
    """The configured runtime does not exist, or none of the configured ones is there."""


@dataclass(frozen=True, kw_only=True)
class RuntimeSettings:
    """What runtimes need from the site's configuration.

    :param work_folder: where the local runtime keeps its attempts.
    :param scan_seconds: pause between looks at memory and time of local attempts.
    :param namespace: where pods are.
    :param pod_start_seconds: how long a pod may take to start before it goes back to the queue.
    :param image: of Docker containers.
    :param network: of Docker containers.
    """

    work_folder: Path
    scan_seconds: float = 0.2
    namespace: str = "default"
    pod_start_seconds: float = 600.0
    image: str = ""
    network: str = "bridge"


@dataclass(frozen=True)
class Choice:
    """The runtime that was chosen.

    :param name: of the runtime.
    :param reason: for the log: why this one, and why not those before it.
    """

    name: str
    reason: str


async def choose_runtime(order: Sequence[str], settings: RuntimeSettings) -> Choice:
    """Return the first runtime of ``order`` that this host has; a single one is taken without a look.

    :raises RuntimeUnknownError: one does not exist, or none is there.
    """
    for name in order:
        _known(name)
    if len(order) == 1:
        return Choice(order[0], "it is the only one [sop] runtime names")
    passed: list[str] = []
    for name in order:
        there, why = await _look(name, settings)
        if there:
            return Choice(name, "; ".join([why, *passed]))
        passed.append(f"not {name}: {why}")
    raise RuntimeUnknownError(
        f"none of the runtimes of [sop] runtime is there ({'; '.join(passed)})",
        error_type=ErrorType.PERMANENT,
        code="no-runtime",
    )


def open_runtime(name: str, settings: RuntimeSettings) -> Runtime:
    """Return the runtime called ``name``.

    :raises RuntimeUnknownError: there is no such runtime.
    """
    # Only who uses a client should pay for its import, which takes a second.
    match _known(name):
        case "kubernetes":
            from airflow_sop_provider.runtimes.kubernetes import KubernetesRuntime, connect_by_environment

            return KubernetesRuntime(
                connect_by_environment(), namespace=settings.namespace, start_seconds=settings.pod_start_seconds
            )
        case "docker":
            from airflow_sop_provider.runtimes.docker import DockerRuntime, connect_to_engine, engine_address

            address = engine_address() or "unix:///run/docker.sock"
            return DockerRuntime(connect_to_engine(address), image=settings.image, network=settings.network)
        case _:
            return LocalRuntime(settings.work_folder, interval=settings.scan_seconds)


def _known(name: str) -> str:
    if name not in RUNTIMES:
        raise RuntimeUnknownError(
            f"unknown runtime {name!r}: set it to `auto` or some of {', '.join(f'`{known}`' for known in RUNTIMES)}",
            error_type=ErrorType.PERMANENT,
            code="unknown-runtime",
        )
    return name


async def _look(name: str, settings: RuntimeSettings) -> tuple[bool, str]:
    """Return whether a runtime is there, and why."""
    match name:
        case "kubernetes":
            return _look_for_cluster()
        case "docker":
            return await _look_for_engine(settings.image)
        case _:
            return True, "processes of this host always work"


def _look_for_cluster() -> tuple[bool, str]:
    """A cluster that is configured and away is waited for: a step must not run somewhere else by chance."""
    if os.environ.get("KUBERNETES_SERVICE_HOST") and _SERVICE_ACCOUNT.exists():
        return True, "Airflow runs in a cluster"
    if config := os.environ.get("KUBECONFIG"):
        return True, f"KUBECONFIG names {config}"
    own = Path.home() / ".kube" / "config"
    return (True, f"{own} names a cluster") if own.exists() else (False, "no cluster is configured")


async def _look_for_engine(image: str) -> tuple[bool, str]:
    try:
        from airflow_sop_provider.runtimes.docker import DockerRuntime, connect_to_engine, engine_address

        address = engine_address()
        if address is None:
            return False, "no container engine runs here"
        runtime = DockerRuntime(connect_to_engine(address), image=image)
    except ImportError:
        return False, "aiodocker is not installed (extra `docker`)"
    try:
        async with asyncio.timeout(_ENGINE_SECONDS):
            missing = await runtime.missing()
    except TimeoutError:
        missing = "the engine does not answer"
    finally:
        await runtime.close()
    return (False, missing) if missing else (True, f"the container engine at {address} has the image {image}")
