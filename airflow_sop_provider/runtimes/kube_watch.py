"""What is known of all our pods of a namespace: one list, one watch, however many attempts wait.

The watch goes on where the list or the last event ended. A server that restarts, a version that is too
old (410) or a connection that breaks leads to a new list; whoever waits for a pod sees only the newest state.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging

from airflow_sop_provider.runtimes.kube_api import KubeApi, KubeError
from airflow_sop_provider.runtimes.kube_pod import GONE, Pod

__all__ = ["PodWatch"]

log = logging.getLogger(__name__)

_WATCH_SECONDS = 600
_PAUSE_SECONDS = 1.0


class PodWatch:
    """Follows the pods with some labels; `run` has to be running.

    :param selector: labels of the pods.
    """

    def __init__(self, api: KubeApi, selector: str) -> None:
        self._api = api
        self._selector = selector
        self._pods: dict[str, Pod] = {}
        self._kept: set[str] = set()
        self._changed: dict[str, asyncio.Event] = {}
        self.listed = asyncio.Event()
        """Set once there is a first list."""

    def get(self, name: str) -> Pod | None:
        """Return a pod as it was seen last; None says only that the watch does not know it."""
        return self._pods.get(name)

    def all(self) -> list[Pod]:
        """Return all pods known."""
        return list(self._pods.values())

    def put(self, pod: Pod) -> None:
        """Take in a pod that another call has answered, unless a newer state is known."""
        known = self._pods.get(pod["metadata"]["name"])
        if known is None or known["metadata"]["uid"] != pod["metadata"]["uid"] or _version(known) < _version(pod):
            self._take(pod)

    def keep(self, name: str) -> None:
        """Keep what is known of a pod when it is gone, until `forget`: its last state says how it ended."""
        self._kept.add(name)

    def forget(self, name: str) -> None:
        """Drop what is kept of a pod that was removed."""
        self._kept.discard(name)
        self._pods.pop(name, None)

    async def change(self, name: str, *, seconds: float) -> None:
        """Return when something has happened to a pod, or after ``seconds``."""
        event = self._changed.setdefault(name, asyncio.Event())
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await event.wait()

    async def run(self) -> None:
        """Follow for ever."""
        while True:
            try:
                version = await self._list()
                while True:
                    version = await self._follow(version)
            except KubeError as error:
                if error.status != 410:  # Gone: the version is too old, which happens
                    log.warning("the watch of pods broke: %s", error)
                    await asyncio.sleep(_PAUSE_SECONDS)

    async def _list(self) -> str:
        pods, version = await self._api.pods(self._selector)
        for pod in pods:
            self._take(pod)
        listed = {pod["metadata"]["name"] for pod in pods}
        # one that was created after the list was made is not gone
        missing = [name for name, pod in self._pods.items() if name not in listed and _version(pod) <= _number(version)]
        for name in missing:
            self._lose(name)
        self.listed.set()
        return version

    async def _follow(self, version: str) -> str:
        async for kind, pod in self._api.watch(self._selector, version, seconds=_WATCH_SECONDS):
            version = pod["metadata"]["resourceVersion"]
            if kind != "BOOKMARK":
                self._take(pod)
            if kind == "DELETED":
                self._lose(pod["metadata"]["name"])
        return version

    def _take(self, pod: Pod) -> None:
        # of thousands only that is kept which says how they are; most of a pod is what it was created with
        pod["metadata"].pop("managedFields", None)
        pod["spec"] = {"nodeName": (pod.get("spec") or {}).get("nodeName")}
        name = pod["metadata"]["name"]
        self._pods[name] = pod
        self._tell(name)

    def _lose(self, name: str) -> None:
        """Note that a pod is gone."""
        if name in self._kept:
            self._pods[name]["metadata"][GONE] = True
        else:
            del self._pods[name]
        self._tell(name)

    def _tell(self, name: str) -> None:
        if (event := self._changed.pop(name, None)) is not None:
            event.set()


def _version(pod: Pod) -> int:
    return _number(pod["metadata"].get("resourceVersion", "0"))


def _number(version: str) -> int:
    # a number in every Kubernetes there has been, and since 1.35 by contract
    return int(version) if version.isdigit() else 0
