"""One attempt as a pod of `KubernetesPodOperator`: what the pod gets, and what its end means.

The assignment travels in the pod's environment and is put into a file before the runner starts;
the verdict comes back as the container's termination message. Neither a sidecar nor an exec into
the pod is needed, so the pod is exactly one container, and before it an init container where the step names an image.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from airflow_sop_provider.contract.attempt import container_name
from airflow_sop_provider.contract.verdict_lines import VerdictLines
from airflow_sop_provider.engine.attempts import RUNNER_MODULE, attempt_spec
from airflow_sop_provider.engine.priorities import PRIORITY_KEY, known_priority
from airflow_sop_provider.operators.model_keys import model_key_variables
from airflow_sop_provider.operators.pod_image import COPY_BYTES, fields_of_image, settle
from airflow_sop_provider.operators.pod_shapes import PodShapes, site_changes_pods, version_of
from airflow_sop_provider.operators.pod_token import engine_access
from airflow_sop_provider.runtimes.base import (
    ASSIGNMENT_FILE,
    CONTAINER_USER,
    FLEET_FILE,
    MODELS_FILE,
    Outcome,
    variables_of_models,
)
from airflow_sop_provider.runtimes.kube_outcome import has_started, outcome_of

if TYPE_CHECKING:
    from kubernetes.client import models as k8s

    from airflow_sop_provider.airflow_settings import SopSettings
    from airflow_sop_provider.contract.assignment import Assignment
    from airflow_sop_provider.runtimes.base import AttemptSpec

__all__ = ["outcome_of_pod", "pod_fields", "pod_manifest", "with_outputs"]

_SHAPES = PodShapes()
_START = (
    "set -eu; umask 077; d=$(mktemp -d); "
    'printf %s "$SOP_ASSIGNMENT_JSON" > "$d/assignment.json"; printf %s "$SOP_FLEET_YAML" > "$d/fleet.yaml"; '
    '[ -z "$SOP_MODELS_YAML" ] || printf %s "$SOP_MODELS_YAML" > "$d/models.yaml"; '
    "unset SOP_ASSIGNMENT_JSON SOP_FLEET_YAML SOP_MODELS_YAML; "
    'export SOP_STEP="$d/assignment.json" SOP_FLEET="$d/fleet.yaml"; '
    f"exec python -m {RUNNER_MODULE}"
)


def pod_fields(assignment: Assignment, settings: SopSettings) -> dict[str, Any]:
    """Return attributes of `KubernetesPodOperator` that make it run ``assignment``."""
    from kubernetes.client import models as k8s

    spec = attempt_spec(assignment, settings)
    environment = {
        "SOP_ASSIGNMENT_JSON": spec.files[ASSIGNMENT_FILE].decode(),
        "SOP_FLEET_YAML": spec.files.get(FLEET_FILE, b"").decode(),
        "SOP_MODELS_YAML": spec.files.get(MODELS_FILE, b"").decode(),
    }
    fields = _pod_fields(assignment, settings, spec)
    if spec.image is not None:
        return fields | fields_of_image(spec.image, settings.image, fields, environment["SOP_ASSIGNMENT_JSON"])
    files = [k8s.V1EnvVar(name=name, value=value) for name, value in environment.items()]
    return {**fields, "cmds": ["/bin/sh", "-c", _START], "env_vars": [*fields["env_vars"], *files]}


def pod_manifest(assignment: Assignment, settings: SopSettings) -> dict[str, Any]:
    """Return the pod of ``assignment`` as JSON, for a runtime that creates it itself and brings the files.

    It is what `KubernetesPodOperator` would create, so the site's pod template and `pod_mutation_hook` apply.
    """
    spec, payload = attempt_spec(assignment, settings), assignment.payload
    if site_changes_pods():
        return _built(assignment, settings, spec)
    shape = (
        settings, version_of(settings.pod_template_file), _priority_class(assignment, settings.priority_class_prefix),
        spec.image, spec.timeout_seconds, payload.cpu_millis, payload.memory_bytes, payload.ephemeral_storage_bytes,
        payload.gpus, payload.network_bits, frozenset(spec.labels), variables_of_models(spec.files),
    )  # fmt: skip
    name, labels = container_name(assignment.key), _pod_labels(spec)
    return _SHAPES.pod(shape, name, labels, lambda: _built(assignment, settings, spec))


def _built(assignment: Assignment, settings: SopSettings, spec: AttemptSpec) -> dict[str, Any]:
    from airflow.providers.cncf.kubernetes.operators.pod import KubernetesPodOperator
    from kubernetes.client import ApiClient

    fields = {**_pod_fields(assignment, settings, spec), "cmds": ["python", "-m", RUNNER_MODULE]}
    if spec.image is not None:
        fields |= fields_of_image(spec.image, settings.image, fields)
    fields["namespace"] = settings.namespace or "default"
    operator = KubernetesPodOperator(task_id=assignment.key.step, **fields)
    pod = operator.build_pod_request_obj(context=None, dry_run=True)
    if spec.image is not None:
        settle(pod.spec, operator.base_container_name)
    manifest: dict[str, Any] = ApiClient().sanitize_for_serialization(pod)
    # a step has no use for the addresses of the namespace's Services
    manifest["spec"].setdefault("enableServiceLinks", False)
    return manifest


def _pod_fields(assignment: Assignment, settings: SopSettings, spec: AttemptSpec) -> dict[str, Any]:
    from kubernetes.client import models as k8s

    seccomp = k8s.V1SeccompProfile(type="RuntimeDefault")
    engine = engine_access(settings.engine_url, settings.fleet_url)
    return {
        "name": container_name(assignment.key),
        "random_name_suffix": False,
        "namespace": settings.namespace,
        "image": settings.image,
        "pod_template_file": settings.pod_template_file,
        "labels": _pod_labels(spec),
        "priority_class_name": _priority_class(assignment, settings.priority_class_prefix),
        "container_resources": _resources(assignment, settings, has_image=spec.image is not None),
        "annotations": _bandwidth(assignment),
        "active_deadline_seconds": None if spec.timeout_seconds is None else int(spec.timeout_seconds) + 1,
        "termination_grace_period": max(1, round(settings.termination_grace_seconds)),
        "automount_service_account_token": False,
        "log_pod_spec_on_failure": False,  # it holds the inputs
        "security_context": k8s.V1PodSecurityContext(
            run_as_non_root=True,
            run_as_user=CONTAINER_USER,
            run_as_group=CONTAINER_USER,
            fs_group=CONTAINER_USER,
            seccomp_profile=seccomp,
        ),
        "container_security_context": k8s.V1SecurityContext(
            allow_privilege_escalation=False,
            read_only_root_filesystem=True,
            privileged=False,
            run_as_non_root=True,
            capabilities=k8s.V1Capabilities(drop=["ALL"]),
            seccomp_profile=seccomp,
        ),
        "env_vars": [*engine.environment, *model_key_variables(spec, settings.model_secrets)],
        "volumes": [k8s.V1Volume(name="tmp", empty_dir=k8s.V1EmptyDirVolumeSource()), *engine.volumes],
        "volume_mounts": [
            k8s.V1VolumeMount(name="tmp", mount_path="/tmp"),  # noqa: S108 - the container's own
            *engine.mounts,
        ],
    }


def outcome_of_pod(pod: k8s.V1Pod | None, container: str) -> Outcome:
    """Return what a pod's end says of its attempt.

    :param pod: as read last; None if there never was one.
    :param container: name of the runner's container.
    """
    if pod is None or pod.status is None:
        return Outcome(evidence={"started": False})
    from kubernetes.client import ApiClient

    plain = {"metadata": {"name": ""}, **ApiClient().sanitize_for_serialization(pod)}
    return outcome_of(plain, container) or Outcome(evidence={"started": has_started(plain, container)})


def with_outputs(outcome: Outcome, read_output: Callable[[], Iterable[str]]) -> Outcome:
    """Return the outcome with outputs that did not fit into the termination message, from the pod's output.

    :param read_output: returns its lines; asked only if they are needed.
    """
    verdict = outcome.verdict
    if verdict is None or verdict.whole is None:
        return outcome
    lines = VerdictLines(verdict.whole)
    lines.add_all(read_output())
    return replace(outcome, verdict=lines.verdict() or verdict)


def _priority_class(assignment: Assignment, prefix: str | None) -> str | None:
    """Return the class for the execution's priority; a priority that does not exist counts as the SOP's."""
    if prefix is None:
        return None
    return f"{prefix}-{known_priority(assignment.execution.get(PRIORITY_KEY)) or assignment.payload.priority}"


def _resources(assignment: Assignment, settings: SopSettings, *, has_image: bool) -> k8s.V1ResourceRequirements:
    from kubernetes.client import models as k8s

    payload = assignment.payload
    limits: dict[str, str] = {}
    if payload.cpu_millis is not None:
        limits["cpu"] = f"{payload.cpu_millis}m"
    if payload.memory_bytes is not None:
        limits["memory"] = str(payload.memory_bytes)
    if payload.ephemeral_storage_bytes is not None:
        copied = COPY_BYTES if has_image else 0
        limits["ephemeral-storage"] = str(payload.ephemeral_storage_bytes + copied)
    if payload.gpus is not None:
        limits[settings.gpu_resource] = str(payload.gpus)
    return k8s.V1ResourceRequirements(limits=limits or None, requests=limits or None)


def _bandwidth(assignment: Assignment) -> dict[str, str]:
    """Return the annotations by which network plugins with traffic shaping limit a pod (CNI's ``bandwidth``)."""
    bits = assignment.payload.network_bits
    directions = () if bits is None else ("ingress", "egress")
    return {f"kubernetes.io/{direction}-bandwidth": str(bits) for direction in directions}


def _pod_labels(spec: AttemptSpec) -> dict[str, str]:
    return {f"sop/{name}": _label(value) for name, value in spec.labels.items()}


def _label(value: str) -> str:
    """Return a value as a label may hold it (63 characters of a small alphabet, RFC 1123 and Kubernetes)."""
    kept = "".join(character if character.isalnum() or character in "-_." else "-" for character in value)
    return kept[:63].strip("-_.")
