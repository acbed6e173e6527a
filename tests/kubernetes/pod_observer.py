"""An observer of pods that shares no code with the engine: what ended how, seen from the API's own history."""

from __future__ import annotations

import json
import threading
import time
from collections import defaultdict
from typing import Any

from kubernetes import client, config, watch

__all__ = ["PodObserver"]

_Step = tuple[str, str]
"""Execution and step."""


class PodObserver:
    """Follows a namespace's pods in a thread, from one resource version to the next, however often the API ends.

    :param kubeconfig: of somebody who may list and watch pods.
    """

    def __init__(self, kubeconfig: str, namespace: str) -> None:
        self._kubeconfig, self._namespace = kubeconfig, namespace
        self._ends: dict[_Step, dict[str, int]] = defaultdict(dict)
        self._gaps = 0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="observe pods", daemon=True)

    def __enter__(self) -> PodObserver:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._over.set()
        self._thread.join()

    @property
    def gaps(self) -> int:
        """How often the API no longer knew what had happened since: then something may not have been seen."""
        return self._gaps

    def successes(self) -> dict[_Step, list[str]]:
        """Return by step the uids of the pods whose program ended with 0."""
        return {step: [uid for uid, code in ends.items() if code == 0] for step, ends in self._ends.items()}

    def _run(self) -> None:
        version = ""
        while not self._over.is_set():
            try:
                version = self._follow(version)
            except client.ApiException as error:
                if error.status == 410:
                    version, self._gaps = "", self._gaps + 1
            except Exception:
                time.sleep(0.5)

    def _follow(self, version: str) -> str:
        with config.new_client_from_config(config_file=self._kubeconfig) as connection:
            api = client.CoreV1Api(connection)
            if not version:
                listed = api.list_namespaced_pod(self._namespace)
                for pod in listed.items:
                    self._note(connection.sanitize_for_serialization(pod))
                version = listed.metadata.resource_version
            pods = watch.Watch()
            for event in pods.stream(
                api.list_namespaced_pod, self._namespace, resource_version=version, timeout_seconds=5
            ):
                pod = event["raw_object"]
                self._note(pod)
                version = pod["metadata"]["resourceVersion"]
            return version

    def _note(self, pod: dict[str, Any]) -> None:
        metadata = pod["metadata"]
        labels = json.loads((metadata.get("annotations") or {}).get("sop/labels", "{}"))
        for container in (pod.get("status") or {}).get("containerStatuses") or ():
            ended = (container.get("state") or {}).get("terminated")
            if container["name"] == "base" and ended is not None and labels:
                self._ends[labels["execution"], labels["step"]][metadata["uid"]] = ended["exitCode"]
