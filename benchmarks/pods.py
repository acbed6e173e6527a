"""When each pod of a namespace came and ended, as the API server tells it, by the clock of this machine."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Iterator
from typing import Any

from kubernetes import client, config
from kubernetes.watch.watch import iter_resp_lines
from urllib3.exceptions import HTTPError

from tools.cluster.layout import Layout
from tools.cluster.simulation import NODE_LABEL, TOLERATION

__all__ = ["PodTimes", "namespace", "pod_template"]

_OVER = ("Succeeded", "Failed")
_WATCH_SECONDS = 5


class PodTimes:
    """Follows a namespace in a thread while it is a context; a watch, so nothing is asked and little is disturbed."""

    def __init__(self, name: str) -> None:
        self._namespace = name
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="pod times", daemon=True)
        self.created: dict[str, float] = {}
        """Pod's name -> when it was first seen."""
        self.ended: dict[str, float] = {}
        self.labels: dict[str, dict[str, str]] = {}

    def __enter__(self) -> PodTimes:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._over.set()
        self._thread.join()

    def running(self) -> int:
        """Return how many have come and not ended."""
        return len(self.created.keys() - self.ended.keys())

    def note(self, kind: str, pod: dict[str, Any]) -> None:
        """Take in an event of the watch."""
        name, now = pod["metadata"]["name"], time.time()
        self.labels.setdefault(name, pod["metadata"].get("labels") or {})
        self.created.setdefault(name, now)
        if kind == "DELETED" or (pod.get("status") or {}).get("phase") in _OVER:
            self.ended.setdefault(name, now)

    def _run(self) -> None:
        version = ""
        with config.new_client_from_config(config_file=str(Layout.default().kubeconfig)) as connection:
            api = client.CoreV1Api(connection)
            while not self._over.is_set():
                with contextlib.suppress(client.ApiException, HTTPError):
                    # as plain JSON: the client's models of thousands of pods would take the time that is measured
                    answer = api.list_namespaced_pod(
                        self._namespace, watch=True, resource_version=version, timeout_seconds=_WATCH_SECONDS,
                        _preload_content=False,
                    )  # fmt: skip
                    for line in iter_resp_lines(answer):
                        version = self._take(json.loads(line))

    def _take(self, event: dict[str, Any]) -> str:
        """Take in an event; return from where to watch on, empty for anew: what is known already stays as it is."""
        if event["type"] == "ERROR":
            return ""
        self.note(event["type"], event["object"])
        return str(event["object"]["metadata"]["resourceVersion"])


@contextlib.contextmanager
def namespace(name: str) -> Iterator[str]:
    """A namespace with a service account, deleted afterwards."""
    with config.new_client_from_config(config_file=str(Layout.default().kubeconfig)) as connection:
        api = client.CoreV1Api(connection)
        api.create_namespace({"metadata": {"name": name}})
        while not api.list_namespaced_service_account(name).items:
            time.sleep(0.2)
        try:
            yield name
        finally:
            api.delete_namespace(name)


def pod_template() -> str:
    """Return the pod that every pod of a simulated node begins as; JSON, which is YAML."""
    spec = {
        "nodeSelector": NODE_LABEL,
        "tolerations": [TOLERATION],
        "containers": [{"name": "base", "image": "simulated"}],
    }
    return json.dumps({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "step"}, "spec": spec})
