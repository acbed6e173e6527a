"""A small API server that behaves like Kubernetes' where attempts are concerned, and misbehaves on request.

What it does is what was seen of a real one (tests/kubernetes): deleting a running pod only marks it, a watch
from an old version is answered with 410, `sinceTime` counts whole seconds.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from aiohttp import web
from kubernetes_asyncio import client

__all__ = ["FakeKubernetes", "LogLine"]

LogLine = tuple[str, str]
"""When it was written (RFC 3339, nanoseconds), and the text."""


class FakeKubernetes:
    """One namespace; start it with ``async with``."""

    def __init__(self) -> None:
        self.pods: dict[str, dict[str, Any]] = {}
        self.secrets: dict[str, dict[str, Any]] = {}
        self.logs: dict[str, list[LogLine]] = {}
        self.seen: list[tuple[str, str, Any]] = []
        self.refuse: Callable[[str, str], tuple[int, str, str] | None] = lambda verb, path: None
        """(verb, path) -> (status, reason, message) of a call that is to fail."""
        self.refusal_headers: dict[str, str] = {}
        self.token = "first"
        self.oldest = 0
        """Watches from before this version are answered with 410."""
        self.cut_logs_after: int | None = None
        """Lines after which the next connection to an output breaks."""
        self._version = 100
        self._events: list[tuple[int, str, dict[str, Any]]] = []
        self._news = asyncio.Condition()
        self._streams: set[web.StreamResponse] = set()
        self._runner: web.AppRunner | None = None
        self.url = ""

    async def __aenter__(self) -> FakeKubernetes:
        app = web.Application(middlewares=[self._guard])
        base = "/api/v1/namespaces/{namespace}"
        app.router.add_get(f"{base}/pods", self._list_pods)
        app.router.add_post(f"{base}/pods", self._create_pod)
        app.router.add_get(f"{base}/pods/{{name}}", self._read_pod)
        app.router.add_delete(f"{base}/pods/{{name}}", self._delete_pod)
        app.router.add_get(f"{base}/pods/{{name}}/log", self._log)
        app.router.add_get(f"{base}/secrets", self._list_secrets)
        app.router.add_post(f"{base}/secrets", self._create_secret)
        app.router.add_delete(f"{base}/secrets/{{name}}", self._delete_secret)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._runner is not None
        await self._runner.cleanup()

    async def connect(self) -> client.ApiClient:
        """Make a client with the credentials that are valid now."""
        configuration = client.Configuration(host=self.url)
        configuration.api_key = {"BearerToken": self.token}
        configuration.api_key_prefix = {"BearerToken": "Bearer"}
        return client.ApiClient(configuration)

    # -- what a kubelet and a scheduler would do ----------------------------------------------------

    async def run(self, name: str) -> None:
        """The container begins."""
        started = {"running": {"startedAt": _now()}}
        await self.status(name, phase="Running", containerStatuses=[_container(started)])

    async def end(self, name: str, code: int, message: str = "", reason: str = "", **more: Any) -> None:
        """The container is over."""
        ended = {"exitCode": code, "message": message, "startedAt": _now(), "finishedAt": _now()}
        ended["reason"] = reason or ("Completed" if code == 0 else "Error")
        phase = "Succeeded" if code == 0 else "Failed"
        await self.status(name, phase=phase, containerStatuses=[_container({"terminated": ended})], **more)

    async def waiting(self, name: str, reason: str, message: str = "") -> None:
        """The container cannot begin."""
        state = {"waiting": {"reason": reason, "message": message}}
        await self.status(name, phase="Pending", containerStatuses=[_container(state)])

    async def status(self, name: str, **status: Any) -> None:
        """Set the pod's status."""
        self.pods[name]["status"] = {**self.pods[name]["status"], **status}
        await self._tell("MODIFIED", self.pods[name])

    async def vanish(self, name: str) -> None:
        """The pod is gone, whoever deleted it."""
        await self._tell("DELETED", self.pods.pop(name))

    async def break_streams(self) -> None:
        """Every watch and every output breaks off, as when the server restarts."""
        for stream in list(self._streams):
            if stream._payload_writer is not None and stream._payload_writer.transport is not None:
                stream._payload_writer.transport.abort()

    async def forget_history(self) -> None:
        """Versions of until now are too old for a watch."""
        self.oldest = self._version
        await self.break_streams()

    # -- the API --------------------------------------------------------------------------------------

    @web.middleware
    async def _guard(self, request: web.Request, handler: Any) -> web.StreamResponse:
        path = request.path.split("/", 5)[5]
        body = await request.json() if request.can_read_body else None
        self.seen.append((request.method, path, body))
        if request.headers.get("Authorization") != f"Bearer {self.token}":
            return _refusal(401, "Unauthorized", "Unauthorized")
        if refused := self.refuse(request.method, path):
            return _refusal(*refused, self.refusal_headers)
        answer: web.StreamResponse = await handler(request)
        return answer

    async def _create_pod(self, request: web.Request) -> web.Response:
        pod = await request.json()
        name = pod["metadata"]["name"]
        if name in self.pods:
            return _refusal(409, "AlreadyExists", f'pods "{name}" already exists')
        pod["metadata"] |= {"uid": f"uid-{self._version}", "creationTimestamp": _now()}
        pod["status"] = {"phase": "Pending"}
        self.pods[name] = pod
        await self._tell("ADDED", pod)
        return web.json_response(pod, status=201)

    async def _read_pod(self, request: web.Request) -> web.Response:
        pod = self.pods.get(request.match_info["name"])
        return _refusal(404, "NotFound", "not found") if pod is None else web.json_response(pod)

    async def _delete_pod(self, request: web.Request) -> web.Response:
        name, options = request.match_info["name"], await request.json()
        pod = self.pods.get(name)
        if pod is None:
            return _refusal(404, "NotFound", "not found")
        if options["preconditions"]["uid"] != pod["metadata"]["uid"]:
            return _refusal(409, "Conflict", "the UID in the precondition does not match")
        if pod["status"]["phase"] == "Running":
            pod["metadata"]["deletionTimestamp"] = _now()
            await self._tell("MODIFIED", pod)
        else:
            await self.vanish(name)
        return web.json_response(pod)

    async def _list_pods(self, request: web.Request) -> web.StreamResponse:
        if request.query.get("watch"):
            return await self._watch(request)
        names = sorted(self.pods)
        first = int(request.query.get("continue", 0))
        page = names[first : first + min(int(request.query["limit"]), 2)]
        metadata = {"resourceVersion": str(self._version)}
        if first + len(page) < len(names):
            metadata["continue"] = str(first + len(page))
        return web.json_response({"metadata": metadata, "items": [self.pods[name] for name in page]})

    async def _watch(self, request: web.Request) -> web.StreamResponse:
        version = int(request.query["resourceVersion"])
        stream = await self._stream(request)
        if version < self.oldest:
            gone = {"code": 410, "reason": "Expired", "message": "too old resource version"}
            await stream.write(json.dumps({"type": "ERROR", "object": gone}).encode() + b"\n")
            return stream
        given = sum(number <= version for number, _, _ in self._events)
        while True:
            async with self._news:
                while given == len(self._events):
                    await self._news.wait()
            for _, kind, pod in self._events[given:]:
                given += 1
                await stream.write(json.dumps({"type": kind, "object": pod}).encode() + b"\n")

    async def _log(self, request: web.Request) -> web.StreamResponse:
        name = request.match_info["name"]
        if name not in self.pods:
            return _refusal(404, "NotFound", "not found")
        since = request.query.get("sinceTime", "")
        stream = await self._stream(request)
        sent, cut = 0, self.cut_logs_after
        self.cut_logs_after = None
        given = 0
        while True:
            lines = self.logs.get(name, [])
            for stamp, text in lines[given:]:
                given += 1
                if stamp[:19] < since[:19]:
                    continue
                if cut is not None and sent >= cut:
                    assert request.transport is not None
                    request.transport.abort()
                    return stream
                await stream.write(f"{stamp} {text}\n".encode())
                sent += 1
            pod = self.pods.get(name)
            over = pod is None or pod["status"]["phase"] in ("Succeeded", "Failed")
            if over and given == len(self.logs.get(name, [])):
                return stream
            await asyncio.sleep(0.02)

    async def _list_secrets(self, request: web.Request) -> web.Response:
        return web.json_response({"metadata": {"resourceVersion": "1"}, "items": list(self.secrets.values())})

    async def _create_secret(self, request: web.Request) -> web.Response:
        secret = await request.json()
        name = secret["metadata"]["name"]
        if name in self.secrets:
            return _refusal(409, "AlreadyExists", f'secrets "{name}" already exists')
        self.secrets[name] = secret
        return web.json_response(secret, status=201)

    async def _delete_secret(self, request: web.Request) -> web.Response:
        found = self.secrets.pop(request.match_info["name"], None)
        return _refusal(404, "NotFound", "not found") if found is None else web.json_response(found)

    async def _stream(self, request: web.Request) -> web.StreamResponse:
        stream = web.StreamResponse()
        await stream.prepare(request)
        self._streams.add(stream)
        return stream

    async def _tell(self, kind: str, pod: dict[str, Any]) -> None:
        async with self._news:
            self._version += 1
            pod["metadata"]["resourceVersion"] = str(self._version)
            self._events.append((self._version, kind, json.loads(json.dumps(pod))))
            self._news.notify_all()


def _container(state: dict[str, Any]) -> dict[str, Any]:
    return {"name": "base", "state": state}


def _refusal(status: int, reason: str, message: str, headers: dict[str, str] | None = None) -> web.Response:
    body = {"kind": "Status", "code": status, "reason": reason, "message": message}
    return web.json_response(body, status=status, headers=headers)


def _now() -> str:
    return f"{datetime.now(UTC) - timedelta(seconds=1):%Y-%m-%dT%H:%M:%SZ}"
