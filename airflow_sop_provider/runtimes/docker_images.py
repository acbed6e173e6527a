"""What a container of a step's own image needs beside that image: the runner, and what the image itself would start.

The runner is copied once for each version of its image onto a volume of the engine, and every such container mounts
that read-only. A step then starts as fast as any other; the engine keeps the volume as it keeps images.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import uuid
from typing import TYPE_CHECKING, Any

from airflow_sop_provider.contract.exit_codes import ErrorType
from airflow_sop_provider.contract.portable import COPY_MODULE, IMAGE_PROGRAM, RUNNER_FOLDER
from airflow_sop_provider.runtimes.base import RuntimeStartError

if TYPE_CHECKING:
    from aiodocker import Docker

__all__ = ["RunnerVolume", "image_variables"]

_LABEL = "airflow-sop-provider/runner-of"
"""Of containers that copy a runner: its image."""
_NOT_FOUND = 404
_LAST_CHARACTERS = 1000


async def image_variables(engine: Docker, image: str) -> dict[str, str]:
    """Return the variables that tell the runner what the engine knows of ``image``.

    :raises DockerError: the engine has no such image, or refuses.
    """
    config = (await engine.images.inspect(image)).get("Config") or {}
    program = {"entrypoint": config.get("Entrypoint") or [], "cmd": config.get("Cmd") or []}
    return {IMAGE_PROGRAM: json.dumps(program)}


class RunnerVolume:
    """The volume with a copy of the runner.

    :param image: the runner's image.
    """

    def __init__(self, engine: Docker, image: str) -> None:
        self._engine = engine
        self._image = image
        self._filled: set[str] = set()
        self._filling = asyncio.Lock()

    async def name(self) -> str:
        """Return the volume's name once the copy is on it.

        :raises DockerError: the engine has no such image, or refuses.
        :raises RuntimeStartError: the runner could not be copied.
        """
        identity = str((await self._engine.images.inspect(self._image))["Id"])
        volume = f"sop-runner-{identity.removeprefix('sha256:')[:16]}"
        async with self._filling:
            # Only who has filled it knows that it is whole; doing it again is a look at what is there.
            if volume not in self._filled or not await self._exists(volume):
                await self._fill(volume)
                self._filled.add(volume)
        return volume

    async def _exists(self, volume: str) -> bool:
        from aiodocker.exceptions import DockerError

        try:
            await self._engine.volumes.get(volume)  # type: ignore[no-untyped-call]  # aiodocker's
        except DockerError as error:
            if error.status == _NOT_FOUND:
                return False
            raise
        return True

    async def _fill(self, volume: str) -> None:
        from aiodocker.exceptions import DockerError

        config: dict[str, Any] = {
            "Image": self._image,
            "Entrypoint": ["python", "-m", COPY_MODULE, RUNNER_FOLDER],
            "Cmd": [],
            "User": "0:0",  # whose an empty volume is
            "Labels": {_LABEL: self._image},
            "HostConfig": {
                "Binds": [f"{volume}:{RUNNER_FOLDER}"],
                "NetworkMode": "none",
                "ReadonlyRootfs": True,
                "CapDrop": ["ALL"],
                "SecurityOpt": ["no-new-privileges"],
            },
        }
        copying = await self._engine.containers.create(config, name=f"{volume}-{uuid.uuid4().hex[:8]}")
        try:
            await copying.start()
            code = int((await copying.wait())["StatusCode"])
            if code:
                said = "".join(await copying.log(stdout=True, stderr=True, follow=False))
                raise RuntimeStartError(
                    f"the runner could not be copied out of {self._image} (exit code {code}); load the image of "
                    f"Airflow's version of airflow-sop-provider (`make image`): {said[-_LAST_CHARACTERS:]}",
                    error_type=ErrorType.PERMANENT,
                    code="runner-copy",
                )
        finally:
            with contextlib.suppress(DockerError):  # what is left of it is named and does no harm
                await copying.delete(force=True)
