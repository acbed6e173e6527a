"""Keys of models in pods: by reference alone, and only where an attempt asks a model that needs one.

The pod names a Secret of its namespace and a key in it; the kubelet puts the value into the container. So no key passes
through Airflow, a DAG, a pod's spec or the engine.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from airflow_sop_provider.runtimes.base import variables_of_models

if TYPE_CHECKING:
    from kubernetes.client import models as k8s

    from airflow_sop_provider.runtimes.base import AttemptSpec

__all__ = ["ModelSecret", "model_key_variables"]

ModelSecret = tuple[str, str, str]
"""Variable that models.yaml reads, name of a Secret, key in it."""


def model_key_variables(spec: AttemptSpec, secrets: Iterable[ModelSecret]) -> list[k8s.V1EnvVar]:
    """Return the variables of an attempt's pod, each a reference to a Secret."""
    from kubernetes.client import models as k8s

    read = set(variables_of_models(spec.files))
    return [
        k8s.V1EnvVar(
            name=variable,
            value_from=k8s.V1EnvVarSource(secret_key_ref=k8s.V1SecretKeySelector(name=secret, key=key)),
        )
        for variable, secret, key in secrets
        if variable in read
    ]
