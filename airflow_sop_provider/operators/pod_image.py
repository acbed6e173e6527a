"""A pod whose step names an image: an init container copies the runner beside it, and the step's container starts that.

So the container is the author's image and nothing else, and logs, verdict, limits and retries are those of every step.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow_sop_provider.contract.portable import COPY_MODULE, RUNNER_FOLDER, start_command
from airflow_sop_provider.runtimes.base import ASSIGNMENT_FILE

if TYPE_CHECKING:
    from kubernetes.client import models as k8s

__all__ = ["COPY_BYTES", "fields_of_image", "settle"]

COPY_BYTES = 128 * 1024 * 1024
"""More than the copy takes; added to the step's limit of temporary files, which the copy counts for."""

_VOLUME = "sop-runner"
_INIT = "sop-runner"
_OURS = "SOP_"
_WRITE_ASSIGNMENT = (
    'set -eu; umask 077; printf %s "$SOP_ASSIGNMENT_JSON" > "$2/$3"; unset SOP_ASSIGNMENT_JSON; '
    'exec python -m "$1" "$2"'
)


def fields_of_image(
    image: str, runner_image: str, base: dict[str, Any], assignment: str | None = None
) -> dict[str, Any]:
    """Return the fields of `KubernetesPodOperator` in which such a pod differs from ``base``, the one of other steps.

    :param image: the step's.
    :param assignment: the assignment as JSON where it travels in the pod's environment, None where a runtime brings it.
    """
    from kubernetes.client import models as k8s

    command = ["python", "-m", COPY_MODULE, RUNNER_FOLDER]
    environment: list[k8s.V1EnvVar] = list(base["env_vars"])
    handed_over: list[k8s.V1EnvVar] = []
    if assignment is not None:
        command = ["/bin/sh", "-c", _WRITE_ASSIGNMENT, "sh", COPY_MODULE, RUNNER_FOLDER, ASSIGNMENT_FILE]
        handed_over = [k8s.V1EnvVar(name="SOP_ASSIGNMENT_JSON", value=assignment)]
        environment.append(k8s.V1EnvVar(name="SOP_STEP", value=f"{RUNNER_FOLDER}/{ASSIGNMENT_FILE}"))
    copying = k8s.V1Container(
        name=_INIT,
        image=runner_image,
        command=command,
        env=handed_over or None,
        resources=base["container_resources"],
        security_context=base["container_security_context"],
        volume_mounts=[k8s.V1VolumeMount(name=_VOLUME, mount_path=RUNNER_FOLDER)],
    )
    mount = k8s.V1VolumeMount(name=_VOLUME, mount_path=RUNNER_FOLDER, read_only=True)
    return {
        "image": image,
        "cmds": start_command(),
        "env_vars": environment,
        "init_containers": [copying],
        "volumes": [*base["volumes"], k8s.V1Volume(name=_VOLUME, empty_dir=k8s.V1EmptyDirVolumeSource())],
        "volume_mounts": [*base["volume_mounts"], mount],
    }


def settle(pod: k8s.V1PodSpec, name: str) -> None:
    """Give a built pod what follows from the site's pod template: less in container ``name``, the same where we copy.

    The template gives the runner its environment, with credentials of the fleet perhaps; an image of the author's
    choice keeps to its own. How images are pulled holds for the runner's, too.
    """
    (container,) = [one for one in pod.containers if one.name == name]
    container.env = [one for one in container.env or () if one.name.startswith(_OURS)]
    container.env_from = None
    for one in pod.init_containers:
        if one.name == _INIT:
            one.image_pull_policy = container.image_pull_policy
