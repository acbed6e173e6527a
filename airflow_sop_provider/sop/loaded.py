"""What loading a valid SOP gives."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from airflow_sop_provider.sop.graph import WorkflowGraph
from airflow_sop_provider.sop.mode import ModeChoice
from airflow_sop_provider.sop.models import Sop
from airflow_sop_provider.sop.problems import Problem, SopError

__all__ = ["CheckResult", "LoadedSop"]


@dataclass(frozen=True, slots=True)
class LoadedSop:
    """A valid SOP with everything derived from its text.

    :param text: the document, as decoded from UTF-8.
    :param sha256: SHA-256 of the file's bytes, hex; the document's identity in the audit log.
    """

    sop: Sop
    text: str
    sha256: str
    path: Path
    graph: WorkflowGraph
    mode: ModeChoice


@dataclass(frozen=True, slots=True)
class CheckResult:
    """What checking one file gave: a loaded SOP, or problems.

    :param file: path of the file, as the caller named it.
    """

    file: str
    loaded: LoadedSop | None
    problems: tuple[Problem, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether the file holds a valid SOP."""
        return self.loaded is not None

    def unwrap(self) -> LoadedSop:
        """Return the loaded SOP.

        :raises SopError: there are problems.
        """
        if self.loaded is None:
            raise SopError(self.problems)
        return self.loaded
