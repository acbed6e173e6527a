"""A container engine as far as the Docker runtime can tell: the calls it makes, answered as Docker answers them.

`tests/docker` runs the same runtime on a real engine.
"""

from __future__ import annotations

import asyncio
import io
import json
import struct
import tarfile
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from aiohttp import web

from airflow_sop_provider.contract.portable import COPY_MODULE

IMAGE = "localhost/runner:1"


def now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f000Z")


@dataclass
class Container:
    """A container; a test says what comes of it."""

    name: str
    config: dict[str, Any]
    id: str
    status: str = "created"
    exit_code: int = 0
    oom: bool = False
    started: str = "0001-01-01T00:00:00Z"
    finished: str = "0001-01-01T00:00:00Z"
    files: bytes = b""
    verdict: bytes | None = None
    events: bytes | None = None
    output: list[tuple[str, str]] = field(default_factory=list)
    over: asyncio.Event = field(default_factory=asyncio.Event)
    stops: int = 0

    def end(self, code: int = 0, *, oom: bool = False, verdict: bytes | None = None) -> None:
        self.status, self.exit_code, self.oom, self.verdict, self.finished = "exited", code, oom, verdict, now()
        self.over.set()

    def inspected(self) -> dict[str, Any]:
        state = {"Status": self.status, "ExitCode": self.exit_code, "OOMKilled": self.oom, "StartedAt": self.started}
        return {
            "Id": self.id,
            "Name": f"/{self.name}",
            "State": {**state, "FinishedAt": self.finished, "Error": ""},
            "Config": {**self.config, "Tty": False},
            "HostConfig": self.config["HostConfig"],
        }


class FakeEngine:
    """Serves the API on a socket. ``fails``: answers for the next calls of a path's last word."""

    def __init__(self, socket: Path) -> None:
        self.address = f"unix://{socket}"
        self.containers: dict[str, Container] = {}
        self.images = {IMAGE}
        self.programs: dict[str, dict[str, Any]] = {}
        """What images start by themselves."""
        self.volumes: set[str] = set()
        self.copies: list[Container] = []
        """Containers that copied the runner; ``copy_code`` is how the next ones end."""
        self.copy_code = 0
        self.engine = "Engine"
        self.fails: dict[str, list[int]] = {}
        self.taken = 409
        """Status of who creates a second container of a name."""
        self._socket = socket
        self._made = 0

    async def __aenter__(self) -> FakeEngine:
        app = web.Application(middlewares=[self._failing])
        of = "/{version}/containers/{id}"
        app.add_routes(
            [
                web.get("/version", self._version),
                web.get("/{version}/version", self._version),
                web.get("/{version}/images/{name:.+}/json", self._image),
                web.get("/{version}/volumes/{name}", self._volume),
                web.post("/{version}/containers/create", self._create),
                web.get("/{version}/containers/json", self._list),
                web.get(f"{of}/json", self._inspect),
                web.put(f"{of}/archive", self._put),
                web.get(f"{of}/archive", self._get),
                web.post(f"{of}/start", self._start),
                web.post(f"{of}/stop", self._stop),
                web.post(f"{of}/wait", self._wait),
                web.get(f"{of}/logs", self._logs),
                web.delete(of, self._delete),
            ]
        )
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.UnixSite(self._runner, str(self._socket)).start()
        return self

    async def __aexit__(self, *error: object) -> None:
        for container in self.containers.values():
            container.over.set()
        await self._runner.cleanup()

    @web.middleware
    async def _failing(self, request: web.Request, handler: Any) -> web.StreamResponse:
        codes = self.fails.get(request.path.rpartition("/")[2])
        if codes:
            return _refuse(codes.pop(0), "as the test wants it")
        answer: web.StreamResponse = await handler(request)
        return answer

    def _of(self, request: web.Request) -> Container:
        wanted = request.match_info["id"]
        for container in self.containers.values():
            if wanted in (container.name, container.id):
                return container
        raise web.HTTPNotFound(text=json.dumps({"message": "No such container"}), content_type="application/json")

    async def _version(self, request: web.Request) -> web.Response:
        return web.json_response({"ApiVersion": "1.41", "Components": [{"Name": self.engine}]})

    async def _image(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]
        if name not in self.images:
            return _refuse(404, f"No such image: {name}")
        return web.json_response({"Id": "sha256:" + name.encode().hex(), "Config": self.programs.get(name)})

    async def _volume(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]
        return web.json_response({"Name": name}) if name in self.volumes else _refuse(404, "no such volume")

    async def _create(self, request: web.Request) -> web.Response:
        config, name = await request.json(), request.query["name"]
        if name in self.containers:
            return _refuse(self.taken, "that name is already in use")
        if config["Image"] not in self.images:
            return _refuse(404, f"No such image: {config['Image']}")
        self._made += 1
        self.containers[name] = Container(name, config, f"{self._made:064x}")
        return web.json_response({"Id": self.containers[name].id}, status=201)

    async def _list(self, request: web.Request) -> web.Response:
        [label] = json.loads(request.query["filters"])["label"]
        key, _, value = label.partition("=")
        found = [one for one in self.containers.values() if one.config["Labels"].get(key) == value]
        return web.json_response([{"Id": one.id} for one in found])

    async def _inspect(self, request: web.Request) -> web.Response:
        return web.json_response(self._of(request).inspected())

    async def _put(self, request: web.Request) -> web.Response:
        self._of(request).files = await request.read()
        return web.Response()

    async def _get(self, request: web.Request) -> web.Response:
        container, name = self._of(request), request.query["path"].rpartition("/")[2]
        verdict = {"verdict.json": container.verdict, "events.jsonl": container.events}.get(name)
        if verdict is None:
            return _refuse(404, "no such file")
        content = io.BytesIO()
        with tarfile.open(fileobj=content, mode="w") as tar:
            entry = tarfile.TarInfo(name)
            entry.size = len(verdict)
            tar.addfile(entry, io.BytesIO(verdict))
        return web.Response(body=content.getvalue(), content_type="application/x-tar")

    async def _start(self, request: web.Request) -> web.Response:
        container = self._of(request)
        if container.status == "created":
            container.status, container.started = "running", now()
        self.volumes |= {bind.partition(":")[0] for bind in container.config["HostConfig"].get("Binds", ())}
        if COPY_MODULE in container.config["Entrypoint"]:
            self.copies.append(container)
            container.output.append((now(), "no space left\n"))
            container.end(self.copy_code)
        return web.Response(status=204)

    async def _stop(self, request: web.Request) -> web.Response:
        container = self._of(request)
        container.stops += 1
        if container.status == "running":
            container.end(137)
        return web.Response(status=204)

    async def _wait(self, request: web.Request) -> web.Response:
        container = self._of(request)
        await container.over.wait()
        return web.json_response({"StatusCode": container.exit_code})

    async def _logs(self, request: web.Request) -> web.StreamResponse:
        container = self._of(request)
        answer = web.StreamResponse()
        await answer.prepare(request)
        since = int(request.query.get("since", 0))
        given = 0
        while True:
            over = container.over.is_set()
            for stamp, text in container.output[given:]:
                given += 1
                if datetime.fromisoformat(stamp) >= datetime.fromtimestamp(since, UTC):
                    frame = f"{stamp} {text}".encode()
                    await answer.write(struct.pack(">BxxxL", 1, len(frame)) + frame)
            if over:
                return answer
            await asyncio.sleep(0.01)

    async def _delete(self, request: web.Request) -> web.Response:
        container = self._of(request)
        del self.containers[container.name]
        container.over.set()
        return web.Response(status=204)


def _refuse(status: int, message: str) -> web.Response:
    return web.json_response({"message": message}, status=status)
