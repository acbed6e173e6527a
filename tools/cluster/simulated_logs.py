"""A kubelet's answer to "follow this container's output", for simulated nodes: one line, and silence until the end.

kwok serves output from files and never ends who follows it, so its nodes name this process as their kubelet. Each
stream stays open as long as its pod runs, as on a real node: four thousand running pods are four thousand streams.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
from datetime import UTC, datetime

from aiohttp import web

from tools.cluster.layout import NODE_ADDRESS, Layout
from tools.cluster.simulation import LOG_PORT

__all__ = ["Pods", "application"]

_LOOK_SECONDS = 300
_RUNS = ("Pending", "Running")


class Pods:
    """Which pods run, followed by one watch."""

    def __init__(self) -> None:
        self._running: dict[tuple[str, str], asyncio.Event] = {}

    def note(self, kind: str, pod: dict[str, object]) -> None:
        """Take in an event of a watch: its type and the pod."""
        metadata, status = _object(pod["metadata"]), _object(pod.get("status"))
        name = (str(metadata["namespace"]), str(metadata["name"]))
        if kind != "DELETED" and status.get("phase", "Pending") in _RUNS:
            self._running.setdefault(name, asyncio.Event())
        elif (over := self._running.pop(name, None)) is not None:
            over.set()

    async def until_over(self, namespace: str, name: str) -> None:
        """Return when a pod no longer runs; at once if it is not known."""
        if (over := self._running.get((namespace, name))) is not None:
            await over.wait()

    async def follow(self) -> None:
        """Follow all pods of simulated nodes for ever."""
        from kubernetes_asyncio import client, config

        configuration = client.Configuration()
        await config.load_kube_config(config_file=str(Layout.default().kubeconfig), client_configuration=configuration)
        while True:
            with contextlib.suppress(Exception):  # the API server may be away; the next list tells all
                async with client.ApiClient(configuration) as api:
                    query = [("watch", "true"), ("timeoutSeconds", str(_LOOK_SECONDS))]
                    answer = await api.call_api(
                        "/api/v1/pods", "GET", query_params=query, _preload_content=False, _request_timeout=600
                    )
                    while line := await answer.content.readline():
                        event = json.loads(line)
                        self.note(event["type"], event["object"])
            await asyncio.sleep(1)


def application(pods: Pods) -> web.Application:
    """Return the part of a kubelet's API that gives a container's output."""

    async def logs(request: web.Request) -> web.StreamResponse:
        answer = web.StreamResponse()
        await answer.prepare(request)
        stamp = f"{datetime.now(UTC).isoformat()[:26]}000Z " if request.query.get("timestamps") == "true" else ""
        await answer.write(f"{stamp}a simulated step runs\n".encode())
        if request.query.get("follow") == "true":
            await pods.until_over(request.match_info["namespace"], request.match_info["pod"])
        return answer

    app = web.Application()
    app.router.add_get("/containerLogs/{namespace}/{pod}/{container}", logs)
    return app


def _object(value: object) -> dict[str, object]:
    return value if isinstance(value, dict) else {}


async def _serve() -> None:
    keys = Layout.default().certificates
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(keys / "ca.crt"))
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_cert_chain(keys / "kubelet.crt", keys / "kubelet.key")
    pods = Pods()
    runner = web.AppRunner(application(pods), access_log=None)
    await runner.setup()
    await web.TCPSite(runner, NODE_ADDRESS, LOG_PORT, ssl_context=context, backlog=4096).start()
    await pods.follow()


if __name__ == "__main__":
    asyncio.run(_serve())
