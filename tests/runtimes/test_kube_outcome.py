"""What a pod's end means, replayed from statuses as a kubelet, a scheduler and an eviction leave them."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_sop_provider.contract import ErrorType
from airflow_sop_provider.engine.failures import classify
from airflow_sop_provider.runtimes.kube_outcome import has_started, outcome_of, stuck_reason


def ended(code: int, reason: str, **more: Any) -> dict[str, Any]:
    return {"name": "base", "state": {"terminated": {"exitCode": code, "reason": reason, **more}}}


def pod(*statuses: dict[str, Any], deleted: bool = False, gone: bool = False, **status: Any) -> dict[str, Any]:
    metadata: dict[str, Any] = {"name": "p", "uid": "u"}
    if deleted:
        metadata["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    if gone:
        metadata["gone"] = True
    return {"metadata": metadata, "spec": {"nodeName": "n"}, "status": {"containerStatuses": [*statuses], **status}}


def disrupted(reason: str) -> list[dict[str, str]]:
    return [{"type": "DisruptionTarget", "status": "True", "reason": reason}]


RUNNING = {"name": "base", "state": {"running": {}}}
PULLING = {"name": "base", "state": {"waiting": {"reason": "ContainerCreating"}}}

CASES = [
    ("memory", pod(ended(137, "OOMKilled")), ErrorType.RESOURCE, "out-of-memory"),
    (
        "memory of the node",
        pod(ended(137, "Error"), phase="Failed", reason="Evicted", message="The node was low on resource: memory."),
        ErrorType.RESOURCE,
        "out-of-memory",
    ),
    (
        "disk",
        pod(phase="Failed", reason="Evicted", message="Pod ephemeral local storage usage exceeds the total limit"),
        ErrorType.RESOURCE,
        "out-of-storage",
    ),
    (
        "time",
        pod(ended(143, "Error"), phase="Failed", reason="DeadlineExceeded"),
        ErrorType.RESOURCE,
        "out-of-time",
    ),
    ("an exit code of ours", pod(ended(65, "Error")), ErrorType.PERMANENT, "exit-65"),
    ("an exit code of nobody's", pod(ended(3, "Error")), ErrorType.CRASH, "exit-3"),
    ("no verdict", pod(ended(0, "Completed")), ErrorType.CRASH, "no-verdict"),
    ("nonsense as verdict", pod(ended(0, "Completed", message="{")), ErrorType.CRASH, "bad-verdict"),
    (
        "a newer runner's verdict",
        pod(ended(0, "Completed", message='{"status": "succeeded", "usage": {"gpu_seconds": 1}}')),
        ErrorType.PERMANENT,
        "bad-verdict",
    ),
    (
        "no such program",
        pod(ended(128, "StartError", message='exec: "x": executable file not found')),
        ErrorType.PERMANENT,
        "not-executable",
    ),
    (
        "a kubelet that ended while it started the container",
        pod(ended(128, "StartError", message="failed to create shim task: context canceled: unknown")),
        ErrorType.REQUEUE,
        "never-started",
    ),
    (
        "too little memory for the first process",
        pod(ended(128, "StartError", message="container init was OOM-killed (memory limit too low?)")),
        ErrorType.RESOURCE,
        "out-of-memory",
    ),
    (
        "preempted while it waited",
        pod(phase="Failed", conditions=disrupted("PreemptionByScheduler")),
        ErrorType.REQUEUE,
        "never-started",
    ),
    (
        "preempted while it ran",
        pod(ended(143, "Error"), phase="Failed", conditions=disrupted("PreemptionByScheduler")),
        ErrorType.CRASH,
        "exit-143",
    ),
    (
        "node lost",
        pod(RUNNING, gone=True, conditions=disrupted("DeletionByTaintManager")),
        ErrorType.CRASH,
        "no-verdict",
    ),
    ("refused by the kubelet", pod(phase="Failed", reason="OutOfcpu"), ErrorType.REQUEUE, "never-started"),
    ("the node goes down", pod(phase="Failed", reason="NodeShutdown"), ErrorType.REQUEUE, "never-started"),
    ("deleted by hand while it ran", pod(RUNNING, deleted=True, gone=True), ErrorType.CRASH, "no-verdict"),
    ("deleted by hand before", pod(PULLING, deleted=True, gone=True), ErrorType.REQUEUE, "never-started"),
    (
        "an init container of the site's failed",
        pod(PULLING, phase="Failed", initContainerStatuses=[ended(1, "Error")]),
        ErrorType.REQUEUE,
        "never-started",
    ),
    (
        "the init container that copies the runner had too little memory",
        pod(PULLING, phase="Failed", initContainerStatuses=[ended(137, "OOMKilled")]),
        ErrorType.RESOURCE,
        "out-of-memory",
    ),
    (
        "evicted by an administrator",
        pod(phase="Failed", reason="Evicted", message="x"),
        ErrorType.REQUEUE,
        "never-started",
    ),
]


@pytest.mark.parametrize(("what", "seen", "expected", "code"), CASES, ids=[case[0] for case in CASES])
def test_the_type_of_an_end(what, seen, expected, code):
    outcome = outcome_of(seen, "base")
    assert outcome is not None
    failure = classify(outcome)
    assert failure is not None
    assert (failure.type, failure.code) == (expected, code)
    assert failure.evidence["pod"] == "p"


@pytest.mark.parametrize("seen", [pod(RUNNING, phase="Running"), pod(PULLING, phase="Pending"), pod(phase="Pending")])
def test_what_may_still_go_on(seen):
    assert outcome_of(seen, "base") is None


def test_a_sidecar_of_a_webhook_does_not_keep_an_attempt_going():
    sidecar = {"name": "mesh", "state": {"running": {}}}
    outcome = outcome_of(pod(ended(0, "Completed"), sidecar, phase="Running"), "base")
    assert outcome is not None
    assert outcome.exit_code == 0


def test_why_it_does_not_start():
    def waiting(reason: str, message: str = "") -> dict[str, Any]:
        return pod({"name": "base", "state": {"waiting": {"reason": reason, "message": message}}})

    assert stuck_reason(waiting("InvalidImageName"), "base") == ("never", "InvalidImageName", "")
    assert stuck_reason(waiting("ImagePullBackOff", "manifest unknown"), "base") == (
        "never",
        "ImageNotFound",
        "manifest unknown",
    )
    assert stuck_reason(waiting("ErrImagePull", "i/o timeout"), "base") == ("not-now", "ImagePullFailed", "i/o timeout")
    assert stuck_reason(waiting("ContainerCreating"), "base") is None
    behind = pod({"name": "base", "state": {"waiting": {"reason": "PodInitializing"}}})
    behind["status"]["initContainerStatuses"] = waiting("ImagePullBackOff", "not found")["status"]["containerStatuses"]
    assert stuck_reason(behind, "base") == ("never", "ImageNotFound", "not found"), "of an init container's image"
    unplaced = [{"type": "PodScheduled", "status": "False", "message": "Insufficient cpu"}]
    assert stuck_reason(pod(conditions=unplaced), "base") == ("not-now", "Unschedulable", "Insufficient cpu")
    assert not has_started(waiting("ContainerCreating"), "base")
    assert has_started(pod(RUNNING), "base")


def test_a_container_that_was_made_on_a_node_that_ended_before_it_could_start_is_lost():
    """As a kubelet left it when containerd and all sandboxes were killed in between; it stays so for ever."""
    made = {"name": "base", "containerID": "containerd://d5", "started": False, "state": {"waiting": {}}}
    no_sandbox = [{"type": "PodReadyToStartContainers", "status": "False"}]
    left = pod(made, phase="Pending", conditions=no_sandbox)
    assert outcome_of(left, "base") is None
    assert not has_started(left, "base")
    kind, reason, _ = stuck_reason(left, "base")
    assert (kind, reason) == ("lost", "NodeLost")
    sandbox = [{"type": "PodReadyToStartContainers", "status": "True"}]
    assert stuck_reason(pod(made, phase="Pending", conditions=sandbox), "base") is None, "it is about to start"
    assert stuck_reason(pod(PULLING, phase="Pending", conditions=no_sandbox), "base") is None, "so every pod begins"
