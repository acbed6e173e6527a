"""What a pod's status says of its attempt: pure functions, so that recorded pods can be replayed."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from airflow_sop_provider.contract.verdict import UnreadableVerdictError, Verdict, read_verdict
from airflow_sop_provider.runtimes.base import Outcome
from airflow_sop_provider.runtimes.kube_pod import GONE, Pod

__all__ = ["has_started", "has_terminated", "outcome_of", "stuck_reason"]

_DISRUPTIONS = {
    "PreemptionByScheduler": "Preempted",
    "DeletionByTaintManager": "NodeLost",
    "DeletionByPodGC": "NodeLost",
    "EvictionByEvictionAPI": "Evicted",
    "TerminationByKubelet": "Evicted",
}
"""Reasons of the condition ``DisruptionTarget`` (Kubernetes, "Pod disruption conditions") -> ours."""
_REFUSED = frozenset({"OutOfcpu", "OutOfmemory", "OutOfpods", "OutOfephemeral-storage", "NodeAffinity", "NodeShutdown",
                      "UnexpectedAdmissionError", "Terminated"})  # fmt: skip
"""Reasons for which a kubelet refuses or ends a pod that the scheduler has given it: another place helps."""
_NEVER_RUNS = frozenset({"InvalidImageName", "ErrImageNeverPull", "CreateContainerConfigError"})
_CANNOT_PULL = frozenset({"ErrImagePull", "ImagePullBackOff"})
_NOT_THERE = ("not found", "notfound", "manifest unknown", "does not exist")
_NOT_STARTED_EXITS = frozenset({"StartError", "ContainerCannotRun"})
_PROGRAM_IS_WRONG = ('exec: "', "exec format error")
"""What runc says of a program that it cannot execute; whatever else keeps a container from its start is the node's."""
_MEMORY_IS_SHORT = "oom-killed"
"""What runc says if not even a container's first process fits into its memory."""


def outcome_of(pod: Pod, container: str) -> Outcome | None:
    """Return what came of the attempt in ``container``, None while it may still go on."""
    status: dict[str, Any] = pod.get("status") or {}
    ended = _state(pod, container).get("terminated")
    if ended is None and status.get("phase") not in ("Succeeded", "Failed") and not pod["metadata"].get(GONE):
        return None
    reason = _reason(pod, ended)
    evidence: dict[str, Any] = {"pod": pod["metadata"].get("name"), "node": (pod.get("spec") or {}).get("nodeName")}
    if reason:
        evidence["reason"] = reason
    if message := (status.get("message") or ""):
        evidence["message"] = message[:1000]
    if ended is None:
        started = has_started(pod, container)
        return Outcome(evidence={**evidence, "started": started}, timed_out=reason == "DeadlineExceeded")
    verdict: Verdict | None = None
    if ended.get("reason") in _NOT_STARTED_EXITS:
        text = str(ended.get("message") or ended["reason"])[:1000]
        if _MEMORY_IS_SHORT in text.lower():
            reason = "OOMKilled"
        elif any(sign in text for sign in _PROGRAM_IS_WRONG):
            evidence["exec_error"] = text
        else:  # such as a kubelet or containerd that ended just then
            evidence |= {"started": False, "message": text}
    elif ended.get("message"):
        try:
            verdict = read_verdict(ended["message"])
        except UnreadableVerdictError as error:
            evidence |= error.as_evidence("termination message")
    return Outcome(
        exit_code=ended.get("exitCode"),
        signal=ended.get("signal"),
        verdict=verdict,
        oom=reason == "OOMKilled",
        timed_out=reason == "DeadlineExceeded",
        evidence=evidence,
        usage=None if verdict is None else verdict.usage,
        image=_status(pod, container).get("imageID") or None,
        started_at=_moment(ended.get("startedAt")),
        ended_at=_moment(ended.get("finishedAt")),
    )


def has_started(pod: Pod, container: str) -> bool:
    """Return whether the container's program ever ran."""
    state = _state(pod, container)
    return "running" in state or "terminated" in state or bool(_status(pod, container).get("started"))


def has_terminated(pod: Pod, container: str) -> bool:
    """Return whether nothing of the container runs any more."""
    return "terminated" in _state(pod, container) or (pod.get("status") or {}).get("phase") in ("Succeeded", "Failed")


def stuck_reason(pod: Pod, container: str) -> tuple[Literal["never", "lost", "not-now"], str, str] | None:
    """Return why a container cannot be started, if it cannot: for ever or only now, our reason, Kubernetes' message.

    ``lost`` is for ever, too, but looks for a moment like a container that is about to start.
    """
    if _has_lost_its_sandbox(pod, container):
        return "lost", "NodeLost", "the node ended between the container's creation and its start"
    for state in (_state(pod, container), *_init_states(pod)):
        waiting = state.get("waiting") or {}
        reason, message = waiting.get("reason", ""), str(waiting.get("message") or "")
        if reason in _NEVER_RUNS:
            return "never", reason, message
        if reason in _CANNOT_PULL:
            missing = any(sign in message.lower() for sign in _NOT_THERE)
            return ("never", "ImageNotFound", message) if missing else ("not-now", "ImagePullFailed", message)
    for condition in (pod.get("status") or {}).get("conditions") or ():
        if condition.get("type") == "PodScheduled" and condition.get("status") == "False":
            return "not-now", "Unschedulable", str(condition.get("message") or "")
    return None


def _has_lost_its_sandbox(pod: Pod, container: str) -> bool:
    """Return whether a container was made, waits for nothing, and has no sandbox to start in.

    A pod that is never restarted gets no new one (kubelet, ``computePodActions``), so it would wait for ever.
    """
    status = _status(pod, container)
    waiting = (status.get("state") or {}).get("waiting")
    ready = [c for c in (pod.get("status") or {}).get("conditions") or () if c["type"] == "PodReadyToStartContainers"]
    made = bool(status.get("containerID")) and waiting is not None and not waiting.get("reason")
    return made and any(condition["status"] == "False" for condition in ready)


def _reason(pod: Pod, ended: dict[str, Any] | None) -> str | None:
    """Return the word that explains the end best: the container's, the pod's, who disturbed or deleted it."""
    status: dict[str, Any] = pod.get("status") or {}
    own = (ended or {}).get("reason")
    if own == "OOMKilled":
        return "OOMKilled"
    if status.get("reason") == "Evicted":
        message = str(status.get("message") or "").lower()
        if "ephemeral" in message or "disk" in message or "storage" in message:
            return "EvictedStorage"
        return "EvictedMemory" if "memory" in message else "Evicted"
    if status.get("reason") in _REFUSED:
        return "NodeShutdown" if status["reason"] in ("NodeShutdown", "Terminated") else "Unschedulable"
    if status.get("reason"):
        return str(status["reason"])
    for condition in status.get("conditions") or ():
        if condition.get("type") == "DisruptionTarget" and condition.get("status") == "True":
            return _DISRUPTIONS.get(condition.get("reason", ""), "Evicted")
    if failed := _failed_init(pod):
        return failed
    if own in ("Completed", "Error", None) and pod["metadata"].get("deletionTimestamp"):
        return "PodDeleted"
    return None if own in ("Completed", "Error", None) else str(own)


def _failed_init(pod: Pod) -> str | None:
    for state in _init_states(pod):
        ended = state.get("terminated")
        if ended and ended.get("exitCode"):
            # the limit is the attempt's own, so more of it helps as it helps the attempt
            return "OOMKilled" if ended.get("reason") == "OOMKilled" else "InitContainerFailed"
    return None


def _init_states(pod: Pod) -> list[dict[str, Any]]:
    statuses = (pod.get("status") or {}).get("initContainerStatuses") or ()
    return [dict(status.get("state") or {}) for status in statuses]


def _status(pod: Pod, container: str) -> dict[str, Any]:
    for status in (pod.get("status") or {}).get("containerStatuses") or ():
        if status.get("name") == container:
            return dict(status)
    return {}


def _state(pod: Pod, container: str) -> dict[str, Any]:
    return dict(_status(pod, container).get("state") or {})


def _moment(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None
