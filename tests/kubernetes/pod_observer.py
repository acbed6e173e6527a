"""An observer of pods that shares no code with the engine: what ended how, seen from the API."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections import defaultdict
from typing import Any

from kubernetes import client, config, watch

__all__ = ["PodObserver"]

_Step = tuple[str, str]
"""Execution and step."""
_FINALIZER = "sop.test/observed"
_GONE, _NO_LONGER_KNOWN = 404, 410


class PodObserver:
    """Follows a namespace's pods in a thread, however often the API ends.

    An API server that starts anew no longer knows what happened before. So a pod gets a finalizer when it is first
    seen, and loses it when its end is noted: none goes unseen that lived longer than a gap.

    :param kubeconfig: of somebody who may list, watch and patch pods.
    """

    def __init__(self, kubeconfig: str, namespace: str) -> None:
        self._kubeconfig, self._namespace = kubeconfig, namespace
        self._ends: dict[_Step, dict[str, int]] = defaultdict(dict)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="observe pods", daemon=True)

    def __enter__(self) -> PodObserver:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._over.set()
        self._thread.join()
        with self._api() as api:
            for pod in api.list_namespaced_pod(self._namespace).items:
                self._release(api, pod.metadata.name)

    def successes(self) -> dict[_Step, list[str]]:
        """Return by step the uids of the pods whose program ended with 0."""
        return {step: [uid for uid, code in ends.items() if code == 0] for step, ends in self._ends.items()}

    def _run(self) -> None:
        version = ""
        while not self._over.is_set():
            try:
                version = self._follow(version)
            except client.ApiException as error:
                version = "" if error.status == _NO_LONGER_KNOWN else version
            except Exception:
                time.sleep(0.5)  # the API server is away

    @contextlib.contextmanager
    def _api(self) -> Any:
        with config.new_client_from_config(config_file=self._kubeconfig) as connection:
            yield client.CoreV1Api(connection)

    def _follow(self, version: str) -> str:
        with self._api() as api:
            if not version:
                listed = api.list_namespaced_pod(self._namespace)
                for pod in listed.items:
                    self._note(api, api.api_client.sanitize_for_serialization(pod))
                version = listed.metadata.resource_version
            pods = watch.Watch()
            for event in pods.stream(
                api.list_namespaced_pod, self._namespace, resource_version=version, timeout_seconds=5
            ):
                pod = event["raw_object"]
                self._note(api, pod)
                version = pod["metadata"]["resourceVersion"]
            return version

    def _note(self, api: client.CoreV1Api, pod: dict[str, Any]) -> None:
        metadata, status = pod["metadata"], pod.get("status") or {}
        labels = json.loads((metadata.get("annotations") or {}).get("sop/labels", "{}"))
        held = _FINALIZER in metadata.get("finalizers", ())
        if not labels:
            return
        for container in status.get("containerStatuses") or ():
            ended = (container.get("state") or {}).get("terminated")
            if container["name"] == "base" and ended is not None:
                self._ends[labels["execution"], labels["step"]][metadata["uid"]] = ended["exitCode"]
        never_ran = not pod["spec"].get("nodeName") and metadata.get("deletionTimestamp")
        if held and (status.get("phase") in ("Succeeded", "Failed") or never_ran):
            self._release(api, metadata["name"])
        elif not held and not metadata.get("deletionTimestamp") and status.get("phase") in ("Pending", "Running"):
            self._patch(api, metadata["name"], [_FINALIZER])

    def _release(self, api: client.CoreV1Api, name: str) -> None:
        self._patch(api, name, None)

    def _patch(self, api: client.CoreV1Api, name: str, finalizers: list[str] | None) -> None:
        try:
            api.patch_namespaced_pod(name, self._namespace, {"metadata": {"finalizers": finalizers}})
        except client.ApiException as error:
            if error.status != _GONE:
                raise
