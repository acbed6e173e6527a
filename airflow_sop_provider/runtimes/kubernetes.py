"""Attempts as pods: one pod per attempt, one watch for all of them, the verdict as termination message.

The pod itself comes with the attempt (`AttemptSpec.pod`), so that pod template, mutation hook and whatever a
site has set up for `KubernetesPodOperator` hold here, too. This module gives it the attempt's name, labels and
files, and follows it. Every call can be repeated after a crash: a second create meets the first pod (409) and
adopts it, deletes name the pod's uid, and a pod that nobody follows any more is found by its labels.
"""

from __future__ import annotations

import asyncio
import base64
import copy
import json
import logging
import os
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

from airflow_sop_provider.contract.exit_codes import ErrorType
from airflow_sop_provider.contract.verdict_lines import VERDICT_LINE, VerdictLines
from airflow_sop_provider.runtimes.base import (
    FILES_FOLDER,
    MANAGED_BY,
    AttemptSpec,
    Handle,
    HandleState,
    Outcome,
    RuntimeStartError,
    RuntimeStateError,
    announced_files,
)
from airflow_sop_provider.runtimes.kube_api import Connect, KubeApi, KubeError
from airflow_sop_provider.runtimes.kube_logs import Followers, lines_after
from airflow_sop_provider.runtimes.kube_outcome import has_started, has_terminated, outcome_of, stuck_reason
from airflow_sop_provider.runtimes.kube_pod import GONE, Pod
from airflow_sop_provider.runtimes.kube_watch import PodWatch

__all__ = ["CONTAINER", "KubernetesRuntime", "connect_by_environment"]

log = logging.getLogger(__name__)

CONTAINER = "base"
"""Name of the attempt's container; the one `KubernetesPodOperator` gives it."""

_SELECTOR = ",".join(f"{name}={value}" for name, value in MANAGED_BY.items())
_ANNOTATION = "sop/labels"
"""The attempt's labels as they are; a pod's labels may not hold every value."""
_VOLUME = "sop-files"
_LOOK_SECONDS = 30.0  # a watch tells of changes; this is for what no watch tells
_LOG_PAUSE_SECONDS = 0.5
_OUTPUT_TRIES = 60  # half a minute at least
_FORCE_SECONDS = 30.0
_LEAVING_PAUSE_SECONDS = 0.2
_GRACE_AFTER_END_SECONDS = 5
_LOST_SECONDS = 60.0
"""For how long a pod whose container has no place to start in may turn out to be one that is about to start."""
_SECRET_BYTES = 1_000_000  # etcd's limit is 1.5 MiB for the whole object, base64 takes a third


class KubernetesRuntime:
    """Runs attempts as pods of one namespace.

    :param connect: makes clients of the API.
    :param namespace: where pods and their Secrets are.
    :param start_seconds: how long a pod may take to start before it goes back to the queue.
    """

    name = "kubernetes"

    def __init__(self, connect: Connect, *, namespace: str, start_seconds: float = 600.0) -> None:
        self._api = KubeApi(connect, namespace)
        self._watch = PodWatch(self._api, _SELECTOR)
        self._watching: asyncio.Task[None] | None = None
        self._start_seconds = start_seconds
        self._stopped: set[str] = set()
        self._overs: dict[str, asyncio.Task[Outcome]] = {}
        self._followers = Followers()

    async def start(self, spec: AttemptSpec) -> Handle:
        """Create the pod or adopt the one of that name; see `Runtime.start`."""
        await self._ready()
        self._watch.keep(spec.name)
        known = self._watch.get(spec.name)
        if known is not None and not known["metadata"].get(GONE) and not _is_leaving(known):
            return _handle(known, adopted=True)
        _check(spec)
        try:
            await self._api.create_secret(_secret_of(spec))
            pod, adopted = await self._create_or_adopt(spec)
        except KubeError as error:
            _cannot_start(spec, error)
        self._watch.put(pod)
        return _handle(pod, adopted=adopted)

    async def wait(self, handle: Handle) -> Outcome:
        """Return once the attempt is over; see `Runtime.wait`."""
        await self._ready()
        over = self._overs.get(handle.name)
        if over is None:
            over = self._overs[handle.name] = asyncio.create_task(self._until_over(handle), name=f"wait {handle.name}")
        return await asyncio.shield(over)

    async def logs(self, handle: Handle, offset: int = 0) -> AsyncIterator[tuple[int, str]]:
        """Follow the output; see `Runtime.logs`."""
        await self._ready()
        while True:
            pod = self._watch.get(handle.name) or await self._read(handle)
            if pod is None or pod["metadata"].get(GONE):
                return
            if not has_started(pod, CONTAINER):
                if has_terminated(pod, CONTAINER):
                    return
                await self._changed(handle)
                continue
            over = has_terminated(pod, CONTAINER)
            turn = None if over else await self._followers.enter(partial(self._changed, handle))
            if turn is None and not over:
                continue
            broke = False
            try:
                async for offset, line in lines_after(self._api, handle.name, CONTAINER, offset, seconds=turn):  # noqa: B020 - where to go on after a break
                    if not line.startswith(VERDICT_LINE):
                        yield offset, line
                if over:
                    return
            except KubeError as error:
                if not error.passing and error.status not in (400, 401):
                    return
                log.info("the output of %s broke off, reading on: %s", handle.name, error)
                broke = True
            finally:
                if turn is not None:
                    self._followers.leave()
            pod = self._watch.get(handle.name)
            if broke or pod is None or not has_terminated(pod, CONTAINER):
                # the end of the output mostly is the pod's, which is told in a moment
                await self._watch.change(handle.name, seconds=_LOG_PAUSE_SECONDS)

    async def stop(self, handle: Handle, *, grace: float) -> None:
        """Delete the pod, which asks its processes to end; see `Runtime.stop`."""
        await self._ready()
        if not handle.uid:
            return
        self._stopped.add(handle.name)
        self._watch.keep(handle.name)
        limit = time.monotonic() + grace + _FORCE_SECONDS
        try:
            await self._api.delete_pod(handle.name, handle.uid, grace=max(1, round(grace)))
            while (pod := await self._current(handle)) is not None and not has_terminated(pod, CONTAINER):
                if time.monotonic() > limit:
                    raise RuntimeStateError(
                        f"pod `{handle.name}` was asked to end and still runs; look at its node",
                        error_type=ErrorType.TRANSIENT,
                        code="unstoppable",
                    )
                await self._watch.change(handle.name, seconds=1.0)
        except KubeError as error:
            _state_error(handle, "stopped", error)

    async def remove(self, handle: Handle) -> None:
        """Delete the pod of an attempt that is over, and its Secret; see `Runtime.remove`."""
        await self._ready()
        try:
            pod = await self._current(handle)
            if pod is not None:
                if has_started(pod, CONTAINER) and outcome_of(pod, CONTAINER) is None:
                    raise RuntimeStateError(
                        f"pod `{handle.name}` still runs; wait for it or stop it before removing it",
                        error_type=ErrorType.TRANSIENT,
                        code="still-running",
                    )
                await self._api.delete_pod(handle.name, handle.uid, grace=_GRACE_AFTER_END_SECONDS)
            await self._api.delete_secret(handle.name)
        except KubeError as error:
            _state_error(handle, "removed", error)
        self._watch.forget(handle.name)
        self._overs.pop(handle.name, None)
        self._stopped.discard(handle.name)

    async def find(self) -> list[Handle]:
        """Return every attempt of ours: pods, and Secrets of pods that never came to be; see `Runtime.find`."""
        await self._ready()
        try:
            secrets = await self._api.secrets(_SELECTOR)
        except KubeError as error:
            raise RuntimeStateError(
                f"Kubernetes does not list our Secrets: {error}", error_type=ErrorType.TRANSIENT, code="runtime-api"
            ) from error
        pods = {pod["metadata"]["name"]: _handle(pod, adopted=True) for pod in self._watch.all()}
        alone = [secret["metadata"] for secret in secrets if secret["metadata"]["name"] not in pods]
        return [*pods.values(), *(_handle_without_pod(metadata) for metadata in alone)]

    async def close(self) -> None:
        """Stop watching; pods go on and can be found again."""
        tasks = [task for task in (self._watching, *self._overs.values()) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._api.close()

    # -- how ---------------------------------------------------------------------------------------

    async def _ready(self) -> None:
        """Start the watch, once, and wait for its first list."""
        if self._watching is None:
            self._watching = asyncio.create_task(self._watch.run(), name="watch pods")
        listed = asyncio.ensure_future(self._watch.listed.wait())
        await asyncio.wait({listed, self._watching}, return_when=asyncio.FIRST_COMPLETED)
        if self._watching.done():
            listed.cancel()
            self._watching.result()  # raises what ended it

    async def _changed(self, handle: Handle) -> None:
        await self._watch.change(handle.name, seconds=_LOOK_SECONDS)

    async def _create_or_adopt(self, spec: AttemptSpec) -> tuple[Pod, bool]:
        limit = time.monotonic() + _FORCE_SECONDS
        while True:
            try:
                return await self._api.create_pod(_pod_of(spec, self._api.namespace)), False
            except KubeError as error:
                existing = await self._api.read_pod(spec.name) if error.reason == "AlreadyExists" else None
                if existing is not None and not _is_leaving(existing):
                    return existing, True
                # one that never ran is on its way out and makes room for its successor
                if error.reason != "AlreadyExists" or time.monotonic() > limit:
                    raise
            await asyncio.sleep(_LEAVING_PAUSE_SECONDS)

    async def _current(self, handle: Handle) -> Pod | None:
        """Return the handle's very pod as it is known, None if it is gone."""
        pod = self._watch.get(handle.name)
        if pod is None:
            pod = await self._api.read_pod(handle.name)
        gone = pod is None or pod["metadata"]["uid"] != handle.uid or pod["metadata"].get(GONE)
        return None if gone else pod

    async def _until_over(self, handle: Handle) -> Outcome:
        self._watch.keep(handle.name)
        while True:
            pod = self._watch.get(handle.name)
            if pod is None:
                pod = await self._read(handle)
            if pod is None or pod["metadata"]["uid"] != handle.uid:
                # nobody saw how it ended
                return Outcome(evidence={"reason": "PodDeleted", "started": True, "pod": handle.name})
            outcome = outcome_of(pod, CONTAINER) or await self._given_up(pod, handle)
            if outcome is not None:
                outcome = await self._with_outputs(outcome, handle)
                return _noting(outcome, stopped=handle.name in self._stopped)
            await self._watch.change(handle.name, seconds=_LOOK_SECONDS)

    async def _with_outputs(self, outcome: Outcome, handle: Handle) -> Outcome:
        """Return the outcome with the outputs that did not fit into the termination message, from the pod's output."""
        verdict = outcome.verdict
        if verdict is None or verdict.whole is None:
            return outcome
        lines = VerdictLines(verdict.whole)
        for _ in range(_OUTPUT_TRIES):
            try:
                async for _, line in lines_after(self._api, handle.name, CONTAINER, 0):
                    lines.add(line)
                break
            except KubeError as error:
                log.warning("the outputs of %s cannot be read: %s", handle.name, error)
                if not error.passing:
                    break
            await asyncio.sleep(_LOG_PAUSE_SECONDS)
        return replace(outcome, verdict=lines.verdict() or verdict)

    async def _read(self, handle: Handle) -> Pod | None:
        """Read a pod that the watch does not know, however long the API is away."""
        while True:
            try:
                return await self._api.read_pod(handle.name)
            except KubeError as error:
                log.warning("pod %s cannot be read: %s", handle.name, error)
                await asyncio.sleep(_LOOK_SECONDS / 10)

    async def _given_up(self, pod: Pod, handle: Handle) -> Outcome | None:
        """Return the outcome of a pod that cannot start, and end it; None if it may still start."""
        if has_started(pod, CONTAINER):
            return None
        stuck = stuck_reason(pod, CONTAINER)
        waited = (datetime.now(UTC) - datetime.fromisoformat(pod["metadata"]["creationTimestamp"])).total_seconds()
        late = waited > (_LOST_SECONDS if stuck is not None and stuck[0] == "lost" else self._start_seconds)
        if not late and (stuck is None or stuck[0] != "never"):
            return None
        _, reason, message = stuck or ("not-now", "Unschedulable", "the container did not start in time")
        try:
            await self._api.delete_pod(handle.name, handle.uid, grace=1)
        except KubeError as error:
            log.warning("pod %s, which cannot start, could not be deleted: %s", handle.name, error)
            return None  # looked at again
        evidence = {"reason": reason, "message": message[:1000], "started": False, "pod": handle.name}
        return Outcome(evidence={**evidence, "waited_seconds": round(waited, 1)})


def connect_by_environment(context: str | None = None) -> Connect:
    """Return a `Connect` that finds the cluster as kubectl does: KUBECONFIG, ~/.kube/config, else its own pod's."""

    async def connect() -> Any:
        from kubernetes_asyncio import client, config

        configuration = client.Configuration()
        # no limit of the client's: `KubeApi` and `Followers` have theirs, and who waits here would wait for a log's end
        configuration.connection_pool_maxsize = 0
        # read now: the client library reads KUBECONFIG when it is imported
        file = os.environ.get("KUBECONFIG") or str(Path.home() / ".kube" / "config")
        if any(os.path.exists(part) for part in file.split(os.pathsep)):  # noqa: ASYNC240 - one look
            await config.load_kube_config(config_file=file, client_configuration=configuration, context=context)
        else:
            config.load_incluster_config(client_configuration=configuration)  # type: ignore[no-untyped-call]  # theirs
        return client.ApiClient(configuration)

    return connect


def _check(spec: AttemptSpec) -> None:
    size = sum(len(content) for content in spec.files.values())
    if spec.pod is None or size > _SECRET_BYTES:
        what = "has no pod" if spec.pod is None else f"has {size:,} bytes of inputs, more than a Secret may hold"
        raise RuntimeStartError(f"attempt `{spec.name}` {what}", error_type=ErrorType.PERMANENT, code="not-startable")


def _pod_of(spec: AttemptSpec, namespace: str) -> Pod:
    """Return the spec's pod with the attempt's name, labels, environment and files."""
    pod: Pod = copy.deepcopy(dict(spec.pod or {}))
    metadata = pod.setdefault("metadata", {})
    metadata["name"], metadata["namespace"] = spec.name, namespace
    metadata["labels"] = {**metadata.get("labels", {}), **MANAGED_BY}
    metadata["annotations"] = {**metadata.get("annotations", {}), _ANNOTATION: json.dumps(dict(spec.labels))}
    container = next(one for one in pod["spec"]["containers"] if one["name"] == CONTAINER)
    environment = [{"name": name, "value": value} for name, value in {**spec.env, **announced_files(spec)}.items()]
    container["env"] = [*(container.get("env") or ()), *environment]
    container["volumeMounts"] = [
        *(container.get("volumeMounts") or ()),
        {"name": _VOLUME, "mountPath": FILES_FOLDER, "readOnly": True},
    ]
    pod["spec"]["volumes"] = [
        *(pod["spec"].get("volumes") or ()),
        {"name": _VOLUME, "secret": {"secretName": spec.name, "defaultMode": 0o440}},
    ]
    return pod


def _secret_of(spec: AttemptSpec) -> dict[str, Any]:
    """Return the Secret with the attempt's files: they hold values of the execution, which no pod spec should."""
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {
            "name": spec.name,
            "labels": MANAGED_BY,
            "annotations": {_ANNOTATION: json.dumps(dict(spec.labels))},
        },
        "type": "Opaque",
        "immutable": True,
        "data": {name: base64.b64encode(content).decode() for name, content in spec.files.items()},
    }


def _is_leaving(pod: Pod) -> bool:
    """Return whether a pod was deleted before it ever ran."""
    return "deletionTimestamp" in pod["metadata"] and not has_started(pod, CONTAINER)


def _handle(pod: Pod, *, adopted: bool) -> Handle:
    if pod["metadata"].get(GONE):  # all that may be there is its Secret
        return _handle_without_pod(pod["metadata"])
    state: HandleState = "created"
    if outcome_of(pod, CONTAINER) is not None:
        state = "ended"
    elif has_started(pod, CONTAINER):
        state = "running"
    metadata = pod["metadata"]
    started = (pod.get("status") or {}).get("startTime")
    return Handle(
        name=metadata["name"],
        uid=metadata["uid"],
        state=state,
        adopted=adopted,
        labels=_labels_of(metadata),
        started_at=datetime.fromisoformat(started) if started else None,
    )


def _handle_without_pod(metadata: dict[str, Any]) -> Handle:
    return Handle(name=metadata["name"], uid="", state="created", adopted=True, labels=_labels_of(metadata))


def _labels_of(metadata: dict[str, Any]) -> dict[str, str]:
    try:
        return dict(json.loads((metadata.get("annotations") or {})[_ANNOTATION]))
    except (KeyError, ValueError):
        return {}


def _noting(outcome: Outcome, *, stopped: bool) -> Outcome:
    return replace(outcome, stopped=True) if stopped else outcome


def _cannot_start(spec: AttemptSpec, error: KubeError) -> NoReturn:
    """Raise what an API's refusal means (design, section 8)."""
    evidence = {"api_status": error.status, "reason": error.reason, "started": False}
    message = str(error).lower()
    if error.status == 403 and "quota" in message:
        kind, code, text = ErrorType.REQUEUE, "quota", "the namespace's quota leaves no room"
    elif error.status == 403 and "looking up service account" in message:
        # a new namespace's is made by a controller, seconds after the namespace
        kind, code, text = ErrorType.REQUEUE, "no-service-account", "the pod's service account is not there yet"
    elif error.passing or error.status == 409:
        kind, code, text = ErrorType.TRANSIENT, "runtime-api", "Kubernetes cannot take it now"
    elif error.status == 403:
        kind, code, text = ErrorType.PERMANENT, "not-allowed", "we may not do this; look at the chart's Role"
    elif error.status == 404:
        kind, code, text = ErrorType.PERMANENT, "no-namespace", "the namespace does not exist; look at [sop] namespace"
    else:
        kind, code, text = ErrorType.PERMANENT, "bad-pod", "correct the step or the site's pod template"
    raise RuntimeStartError(
        f"pod `{spec.name}` was not created: {text} ({error.status} {error.reason}: {error})",
        error_type=kind,
        code=code,
        evidence=evidence,
    ) from error


def _state_error(handle: Handle, what: str, error: KubeError) -> NoReturn:
    raise RuntimeStateError(
        f"pod `{handle.name}` could not be {what}: {error}",
        error_type=ErrorType.TRANSIENT if error.passing else ErrorType.PERMANENT,
        code="runtime-api",
        evidence={"api_status": error.status},
    ) from error
