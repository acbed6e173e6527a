"""A folder of SOP documents as an Airflow DAG bundle.

Airflow's dag-processor lists Python files only. So the bundle keeps, in a folder of its own, one
small DAG file (stub) per document, rewritten only when its document changes. Each SOP thereby has its
own import error, its own Code tab and its own change detection, and an edit costs the parsing of
one file.

Configure it as::

    [dag_processor]
    dag_bundle_config_list = [{"name": "sops",
        "classpath": "airflow_sop_provider.bundles.sop_bundle.SopBundle", "kwargs": {"path": "/opt/sops"}}]
"""

from __future__ import annotations

import hashlib
import logging
from pathlib import Path
from typing import Any

from airflow.dag_processing.bundles.base import BaseDagBundle

from airflow_sop_provider.airflow_settings import read_settings
from airflow_sop_provider.bundles.documents import DocumentFolder
from airflow_sop_provider.bundles.stubs import StubFolder

__all__ = ["SopBundle"]

log = logging.getLogger(__name__)


class SopBundle(BaseDagBundle):
    """The SOP documents under a folder.

    :param path: the folder; ``[sop] sops_folder`` if left out.
    :param refresh_interval: seconds between two looks; ``[sop] refresh_seconds`` if left out.
    """

    supports_versioning = False

    def __init__(self, *, path: str | None = None, refresh_interval: int | None = None, **kwargs: Any) -> None:
        settings = read_settings()
        super().__init__(refresh_interval=refresh_interval or settings.refresh_seconds, **kwargs)
        self.folder = Path(path).expanduser().absolute() if path else settings.sops_folder
        self._documents = DocumentFolder(self.folder)
        # Airflow keeps bundles under the host's temporary folder by default, where another Airflow may
        # have a bundle of this name: what is derived from one folder of documents is kept apart.
        origin = hashlib.sha256(str(self.folder).encode()).hexdigest()[:12]
        self._stubs = StubFolder(self.base_dir / f"stubs-{origin}")

    @property
    def path(self) -> Path:
        """The folder of stubs, which Airflow parses."""
        return self._stubs.folder

    def initialize(self) -> None:
        """Write the stubs for the first time."""
        self.refresh()
        super().initialize()

    def get_current_version(self) -> None:
        """Return no version: documents are kept by the engine, by digest, not by the bundle."""
        return

    def refresh(self) -> None:
        """Bring the stubs up to date with the documents; safe to call from several processes."""
        _warm_up()
        with self.lock():
            changed = self._stubs.write(self._documents.survey(self._stubs.owners))
        if changed:
            log.info("SOPs of bundle %s changed: %s", self.name, ", ".join(sorted(changed)))


def _warm_up() -> None:
    """Prepare this process for its forks, the first time it refreshes.

    Not when this module is imported: the API server imports that, too.
    """
    from dag_factory.warming import warm_up

    warm_up()
