"""The token by which a pod's runner proves to the engine which attempt it is.

A projected service-account token: bound to this very pod, for the engine's audience only, renewed by the kubelet.
Kubernetes' own API refuses it, and the pod's spec holds nothing secret.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from airflow_sop_provider.contract.engine_access import ENGINE_AUDIENCE, ENGINE_URL, FLEET_URL, TOKEN_FILE

if TYPE_CHECKING:
    from kubernetes.client import models as k8s

__all__ = ["TOKEN_FOLDER", "TOKEN_SECONDS", "EngineAccess", "engine_access"]

TOKEN_FOLDER = "/var/run/secrets/sop-engine"  # noqa: S105 - a folder
"""Beside the place where Kubernetes mounts its own; not below `/run/sop`, which is another volume."""

TOKEN_SECONDS = 600
"""The shortest that Kubernetes grants; the kubelet renews it after four fifths of that."""

_VOLUME = "sop-engine-token"


@dataclass(frozen=True)
class EngineAccess:
    """What a pod gets so that its runner reaches the engine; all empty where no engine is configured."""

    environment: tuple[k8s.V1EnvVar, ...] = ()
    volumes: tuple[k8s.V1Volume, ...] = ()
    mounts: tuple[k8s.V1VolumeMount, ...] = ()


def engine_access(url: str | None, fleet_url: str | None = None) -> EngineAccess:
    """Return the access to the engine at ``url``, that of nobody for None.

    :param fleet_url: the fleet's gateway, None: it is part of the engine.
    """
    if url is None:
        return EngineAccess()
    from kubernetes.client import models as k8s

    token = k8s.V1ServiceAccountTokenProjection(
        audience=ENGINE_AUDIENCE, expiration_seconds=TOKEN_SECONDS, path="token"
    )
    projected = k8s.V1ProjectedVolumeSource(sources=[k8s.V1VolumeProjection(service_account_token=token)])
    return EngineAccess(
        environment=(
            k8s.V1EnvVar(name=ENGINE_URL, value=url),
            k8s.V1EnvVar(name=TOKEN_FILE, value=f"{TOKEN_FOLDER}/token"),
            *([k8s.V1EnvVar(name=FLEET_URL, value=fleet_url)] if fleet_url else ()),
        ),
        volumes=(k8s.V1Volume(name=_VOLUME, projected=projected),),
        mounts=(k8s.V1VolumeMount(name=_VOLUME, mount_path=TOKEN_FOLDER, read_only=True),),
    )
