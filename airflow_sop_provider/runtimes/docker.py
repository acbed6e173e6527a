"""Attempts as containers of a Docker engine, or of Podman's service that speaks the same API.

For hosts without a cluster: the isolation and the contract of a pod on one machine. The container's name is the key
of idempotence, its id the identity of the attempt; nothing is kept here that the engine does not know, so a new
instance adopts what an old one started. The engine keeps no time limit: whoever waits for the container ends it, and
who comes later finds the limit among its labels.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from airflow_sop_provider.contract.exit_codes import ErrorType
from airflow_sop_provider.contract.verdict import UnreadableVerdictError, Verdict
from airflow_sop_provider.runtimes.base import (
    FILES_FOLDER,
    MANAGED_BY,
    AttemptSpec,
    Handle,
    Outcome,
    RuntimeStartError,
    RuntimeStateError,
)
from airflow_sop_provider.runtimes.docker_container import (
    EVENTS_PATH,
    VERDICT_PATH,
    config_of,
    deadline_of,
    events_of,
    files_of,
    handle_of,
    is_over,
    outcome_of,
    verdict_of,
)
from airflow_sop_provider.runtimes.docker_images import RunnerVolume, image_variables
from airflow_sop_provider.runtimes.docker_logs import lines_after

if TYPE_CHECKING:
    from aiodocker import Docker
    from aiodocker.containers import DockerContainer
    from aiodocker.exceptions import DockerError

__all__ = ["DockerRuntime", "connect_to_engine", "engine_address"]

log = logging.getLogger(__name__)

_SOCKETS = (Path("/run/docker.sock"), Path("/var/run/docker.sock"), Path("/run/podman/podman.sock"))
_AWAY_PAUSE_SECONDS = 1.0
_TIMEOUT_GRACE_SECONDS = 5
_FORCE_SECONDS = 30.0
_OTHER_STARTER_LOOKS, _OTHER_STARTER_PAUSE_SECONDS = 25, 0.2
_NO_ENGINE = 900  # aiodocker's status for "no connection"
_CONFLICT, _NOT_FOUND, _SERVER_ERROR = 409, 404, 500


class DockerRuntime:
    """Runs attempts as containers of one engine.

    :param engine: client of the engine; ours to close.
    :param image: image of every attempt whose step names none. No image is ever pulled, because a site decides what
        runs on its engine.
    :param network: network of the containers, such as ``bridge``, ``none`` or one of the site's own.
    """

    name = "docker"

    def __init__(self, engine: Docker, *, image: str, network: str = "bridge") -> None:
        self._engine = engine
        self._image = image
        self._network = network
        self._runner_volume = RunnerVolume(engine, image)
        self._stopped: set[str] = set()
        self._overs: dict[str, asyncio.Task[Outcome]] = {}
        self._tells_oom: bool | None = None

    async def start(self, spec: AttemptSpec) -> Handle:
        """Create and start the container or adopt the one of that name; see `Runtime.start`."""
        from aiodocker.exceptions import DockerError

        try:
            existing = await self._inspect(spec.name)
            adopted = existing is not None and handle_of(existing, adopted=True).state != "created"
            if not adopted:
                await self._create_and_start(spec, exists=existing is not None)
            found = await self._inspect(spec.name)
        except DockerError as error:
            _cannot_start(spec, self._image, error)
        if found is None:
            raise RuntimeStartError(
                f"container `{spec.name}` was deleted while it started", error_type=ErrorType.TRANSIENT, code="deleted"
            )
        return handle_of(found, adopted=adopted)

    async def wait(self, handle: Handle) -> Outcome:
        """Return once the attempt is over; see `Runtime.wait`."""
        over = self._overs.get(handle.name)
        if over is None:
            over = self._overs[handle.name] = asyncio.create_task(self._until_over(handle), name=f"wait {handle.name}")
        return await asyncio.shield(over)

    async def logs(self, handle: Handle, offset: int = 0) -> AsyncIterator[tuple[int, str]]:
        """Follow the output; see `Runtime.logs`."""
        from aiodocker.exceptions import DockerError

        while True:
            try:
                found = await self._inspect(_id(handle))
                if found is None:
                    return
                over = is_over(found)
                reading = lines_after(self._container(handle), offset, over=over)
                async for offset, line in reading:
                    yield offset, line
                if over:
                    return
            except DockerError as error:
                if not _passing(error):
                    return
                log.info("the output of %s broke off, reading on: %s", handle.name, error)
            await asyncio.sleep(_AWAY_PAUSE_SECONDS / 2)

    async def stop(self, handle: Handle, *, grace: float) -> None:
        """Stop the container; see `Runtime.stop`."""
        from aiodocker.exceptions import DockerError

        self._stopped.add(handle.name)
        try:
            async with asyncio.timeout(grace + _FORCE_SECONDS):
                await self._container(handle).stop(t=max(1, round(grace)))
        except DockerError as error:
            if error.status != _NOT_FOUND:
                _state_error(handle, "stopped", error)
        except TimeoutError as error:
            raise RuntimeStateError(
                f"container `{handle.name}` was asked to end and still runs; look at the engine",
                error_type=ErrorType.TRANSIENT,
                code="unstoppable",
            ) from error

    async def remove(self, handle: Handle) -> None:
        """Delete the container of an attempt that is over, with its files; see `Runtime.remove`."""
        from aiodocker.exceptions import DockerError

        try:
            found = await self._inspect(_id(handle))
            if found is not None:
                if handle_of(found, adopted=True).state == "running":
                    raise RuntimeStateError(
                        f"container `{handle.name}` still runs; wait for it or stop it before removing it",
                        error_type=ErrorType.TRANSIENT,
                        code="still-running",
                    )
                await self._container(handle).delete(v=True, force=True)
        except DockerError as error:
            if error.status != _NOT_FOUND:
                _state_error(handle, "removed", error)
        self._overs.pop(handle.name, None)
        self._stopped.discard(handle.name)

    async def find(self) -> list[Handle]:
        """Return every attempt of ours that exists; see `Runtime.find`."""
        from aiodocker.exceptions import DockerError

        labels = [f"{name}={value}" for name, value in MANAGED_BY.items()]
        try:
            containers = await self._engine.containers.list(all=True, filters=json.dumps({"label": labels}))
            found = [await self._inspect(container.id) for container in containers]
        except DockerError as error:
            raise RuntimeStateError(
                f"the container engine does not list our containers: {error}",
                error_type=ErrorType.TRANSIENT,
                code="runtime-api",
            ) from error
        return [handle_of(one, adopted=True) for one in found if one is not None]

    async def close(self) -> None:
        """Let go of the engine; containers go on and can be found again."""
        for task in self._overs.values():
            task.cancel()
        await asyncio.gather(*self._overs.values(), return_exceptions=True)
        await self._engine.close()
        await self._engine.session.close()

    async def missing(self) -> str | None:
        """Return what this host lacks to run attempts here, None if nothing."""
        from aiodocker.exceptions import DockerError

        try:
            await self._engine.version()
            await self._engine.images.inspect(self._image)
        except DockerError as error:
            if error.status == _NOT_FOUND:
                return f"the container engine has no image {self._image} (`make image`)"
            return f"the container engine cannot be used ({error.message})"
        return None

    # -- how ---------------------------------------------------------------------------------------

    def _container(self, handle: Handle) -> DockerContainer:
        return self._engine.containers.container(_id(handle))

    async def _inspect(self, name: str) -> dict[str, Any] | None:
        from aiodocker.exceptions import DockerError

        try:
            return dict(await self._engine.containers.container(name).show())
        except DockerError as error:
            if error.status == _NOT_FOUND:
                return None
            raise

    async def _create_and_start(self, spec: AttemptSpec, *, exists: bool) -> None:
        from aiodocker.exceptions import DockerError

        if not exists:
            config = await self._config(spec)
            try:
                await self._engine.containers.create(config, name=spec.name)
            except DockerError as error:
                if not _name_is_taken(error):
                    raise
                if await self._started_by_another(spec.name):
                    return
        container = self._engine.containers.container(spec.name)
        try:
            # One that is there but never ran was left by a starter that died, maybe before its files were in place.
            await container.put_archive(FILES_FOLDER, files_of(spec))  # type: ignore[no-untyped-call]  # aiodocker's
            await container.start()
        except DockerError:
            await self._take_back(spec.name)
            raise

    async def _started_by_another(self, name: str) -> bool:
        """Return whether the one that has the name is started within a moment; False: its starter is gone."""
        for _ in range(_OTHER_STARTER_LOOKS):
            # Podman has the name before it knows the container
            found = await self._inspect(name)
            if found is not None and handle_of(found, adopted=True).state != "created":
                return True
            await asyncio.sleep(_OTHER_STARTER_PAUSE_SECONDS)
        return False

    async def _config(self, spec: AttemptSpec) -> dict[str, Any]:
        if spec.image is None:
            return config_of(spec, image=self._image, network=self._network)
        volume = await self._runner_volume.name()
        variables = await image_variables(self._engine, spec.image)
        return config_of(spec, image=self._image, network=self._network, runner_volume=volume, variables=variables)

    async def _take_back(self, name: str) -> None:
        """Delete what a failed start left, so that nobody takes it for started."""
        from aiodocker.exceptions import DockerError

        with contextlib.suppress(DockerError):
            found = await self._inspect(name)
            if found is not None and handle_of(found, adopted=True).state == "created":
                await self._engine.containers.container(name).delete(v=True, force=True)

    async def _until_over(self, handle: Handle) -> Outcome:
        from aiodocker.exceptions import DockerError

        container = self._container(handle)
        while True:
            try:
                found = await self._inspect(_id(handle))
                if found is None:
                    # nobody saw how it ended
                    return Outcome(evidence={"reason": "ContainerDeleted", "started": True, "runtime": self.name})
                if is_over(found):
                    stopped = handle.name in self._stopped
                    verdict, problem = await self._verdict(container)
                    outcome = outcome_of(found, verdict, stopped=stopped, tells_oom=await self._engine_tells_oom())
                    if verdict is not None:
                        return outcome
                    evidence = {**outcome.evidence, **problem}
                    return replace(outcome, evidence=evidence, events=await self._events(container))
                await self._wait_until_over_or_late(container, found)
            except DockerError as error:
                log.warning("container %s cannot be followed: %s", handle.name, error)
                await asyncio.sleep(_AWAY_PAUSE_SECONDS)

    async def _wait_until_over_or_late(self, container: DockerContainer, found: dict[str, Any]) -> None:
        deadline = deadline_of(found)
        left = None if deadline is None else max(0.0, (deadline - datetime.now(UTC)).total_seconds())
        try:
            async with asyncio.timeout(left):
                await container.wait()
        except TimeoutError:
            await container.stop(t=_TIMEOUT_GRACE_SECONDS)

    async def _verdict(self, container: DockerContainer) -> tuple[Verdict | None, dict[str, Any]]:
        """Return the verdict, or as evidence why what is there cannot be read."""
        from aiodocker.exceptions import DockerError

        try:
            return verdict_of(await container.get_archive(VERDICT_PATH)), {}
        except UnreadableVerdictError as error:
            return None, error.as_evidence(VERDICT_PATH)
        except DockerError as error:
            if error.status == _NOT_FOUND:
                return None, {}
            raise

    async def _events(self, container: DockerContainer) -> tuple[dict[str, Any], ...]:
        """Return what a runner recorded that left no verdict."""
        from aiodocker.exceptions import DockerError

        try:
            return events_of(await container.get_archive(EVENTS_PATH))
        except DockerError as error:
            if error.status == _NOT_FOUND:
                return ()
            raise

    async def _engine_tells_oom(self) -> bool:
        if self._tells_oom is None:
            components = (await self._engine.version()).get("Components") or ()
            self._tells_oom = not any("podman" in str(one.get("Name")).lower() for one in components)
        return self._tells_oom


def engine_address() -> str | None:
    """Return the address of this host's engine as Docker's own client finds it, None if there is none."""
    if address := os.environ.get("DOCKER_HOST"):
        return address
    return next((f"unix://{socket}" for socket in _SOCKETS if socket.is_socket()), None)


def connect_to_engine(address: str) -> Docker:
    """Return a client of the engine at ``address``; any number of containers can be followed at once."""
    import aiohttp
    from aiodocker import Docker

    if not address.startswith("unix://"):
        return Docker(address)
    # aiohttp's own limit is a hundred connections, and each output that is followed is one
    connector = aiohttp.UnixConnector(address.removeprefix("unix://"), limit=0)
    # the connector knows the socket; the address is only what a URL needs for a host
    return Docker("unix://localhost", connector=connector, session=aiohttp.ClientSession(connector=connector))


def _id(handle: Handle) -> str:
    return handle.uid or handle.name


def _name_is_taken(error: DockerError) -> bool:
    # Docker says 409, Podman 4 says 500
    return error.status == _CONFLICT or (error.status == _SERVER_ERROR and "already in use" in error.message)


def _passing(error: DockerError) -> bool:
    return error.status == _NO_ENGINE or error.status >= _SERVER_ERROR


def _cannot_start(spec: AttemptSpec, image: str, error: DockerError) -> NoReturn:
    """Raise what the engine's refusal means (design, section 8)."""
    if error.status == _NOT_FOUND and "image" in error.message.lower():
        kind, code = ErrorType.PERMANENT, "image-not-found"
        text = f"the engine has no image {image}; load one (`make image`) or set [sop] image"
        if spec.image is not None and spec.image in error.message:
            text = f"the engine has no image {spec.image}; pull it there (`docker pull`) or correct the step's `image`"
    elif _passing(error) or error.status == _CONFLICT:
        kind, code, text = ErrorType.TRANSIENT, "runtime-api", "the container engine cannot take it now"
    else:
        kind, code, text = ErrorType.PERMANENT, "bad-container", "correct the step or the site's settings"
    raise RuntimeStartError(
        f"container `{spec.name}` was not started: {text} ({error.status} {error.message})",
        error_type=kind,
        code=code,
        evidence={"api_status": error.status, "started": False},
    ) from error


def _state_error(handle: Handle, what: str, error: DockerError) -> NoReturn:
    raise RuntimeStateError(
        f"container `{handle.name}` could not be {what}: {error.message}",
        error_type=ErrorType.TRANSIENT if _passing(error) else ErrorType.PERMANENT,
        code="runtime-api",
        evidence={"api_status": error.status},
    ) from error
