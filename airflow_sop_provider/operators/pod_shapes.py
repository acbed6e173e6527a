"""Pods that differ in nothing but their attempt are built once.

`KubernetesPodOperator` copies a pod's models many times over while it merges the site's template: 10 ms of processor
time for each, more than all else that a step costs the executor. Attempts of the same requirements have the same pod
but for name and labels, so the first one's serves them all. Where a site changes pods itself (`pod_mutation_hook`),
which may look at anything, each is built anew.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Hashable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

__all__ = ["PodShapes", "site_changes_pods", "version_of"]

_KEPT = 256


class PodShapes:
    """The pods built last, by what they depend on."""

    def __init__(self) -> None:
        self._texts: dict[Hashable, str] = {}

    def pod(
        self, shape: Hashable, name: str, labels: Mapping[str, str], build: Callable[[], dict[str, Any]]
    ) -> dict[str, Any]:
        """Return a pod of one's own.

        :param shape: all that it depends on besides ``name`` and ``labels``, and the labels' names.
        :param build: makes it, with this name and these labels.
        """
        text = self._texts.get(shape)
        if text is None:
            made = build()
            if len(self._texts) >= _KEPT:
                self._texts.clear()
            self._texts[shape] = json.dumps(made)
            return made
        pod: dict[str, Any] = json.loads(text)
        pod["metadata"]["name"] = name
        pod["metadata"]["labels"] |= labels
        return pod


@lru_cache(maxsize=1)
def site_changes_pods() -> bool:
    """Return whether somebody has a `pod_mutation_hook`; Airflow itself has none."""
    from airflow.settings import get_policy_plugin_manager

    return bool(get_policy_plugin_manager().hook.pod_mutation_hook.get_hookimpls())


def version_of(file: str | None) -> Hashable:
    """Return what changes whenever a file does."""
    if file is None:
        return None
    try:
        found = Path(file).stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino
