"""Records what a cluster tells of a test's pods and what our runtime makes of it: for `test_replay`."""

from __future__ import annotations

import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from kubernetes import client, config, watch

from airflow_sop_provider.runtimes import Handle, Outcome
from airflow_sop_provider.runtimes.kubernetes import KubernetesRuntime
from tests.runtimes.recording import Recording, result_of

__all__ = ["recorded"]

_AFTER_SECONDS = 1.0
"""What is still told of a pod when the test is over."""


@contextmanager
def recorded(target: Path, kubeconfig: str, namespace: str, patch: pytest.MonkeyPatch) -> Iterator[None]:
    """Record meanwhile the pods of a namespace for which somebody waits; write a file unless there were none."""
    recording = Recording()
    over, following = threading.Event(), threading.Event()

    def follow() -> None:
        with config.new_client_from_config(config_file=kubeconfig) as connection:
            api = client.CoreV1Api(connection)
            pods = api.list_namespaced_pod(namespace)
            version = pods.metadata.resource_version
            following.set()
            while not over.is_set():
                try:
                    stream = watch.Watch().stream(
                        api.list_namespaced_pod, namespace, resource_version=version, timeout_seconds=1
                    )
                    for event in stream:
                        version = event["raw_object"]["metadata"]["resourceVersion"]
                        recording.note(event["type"], event["raw_object"])
                except Exception:
                    time.sleep(0.2)  # the test may have killed the API server

    wait: Callable[[KubernetesRuntime, Handle], Awaitable[Outcome]] = KubernetesRuntime.wait

    async def noting(runtime: KubernetesRuntime, handle: Handle) -> Outcome:
        outcome = await wait(runtime, handle)
        # outputs that did not fit into the status are read from the pod's output, which is not recorded
        if outcome.verdict is None or len(outcome.verdict.model_dump_json()) < 4096:
            recording.results[handle.name] = result_of(outcome)
        return outcome

    patch.setattr(KubernetesRuntime, "wait", noting)
    thread = threading.Thread(target=follow, name="record pods", daemon=True)
    thread.start()
    assert following.wait(60)
    try:
        yield
    finally:
        time.sleep(_AFTER_SECONDS)
        over.set()
        thread.join()
        if recording.results:
            recording.of(recording.results).save(target)
