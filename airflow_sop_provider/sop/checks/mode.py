"""The mode an SOP asks for, or falls into, must be one it can run in."""

from __future__ import annotations

from airflow_sop_provider.sop.checks.document import Document
from airflow_sop_provider.sop.mode import choose_mode_of

__all__ = ["check_mode"]


def check_mode(document: Document) -> None:
    """Report every reason why the chosen mode is incompatible, each at its place."""
    choice = choose_mode_of(document.data)
    if choice.valid:
        return
    why = "" if document.data.get("mode") == "agent_centric" else f" (chosen as {choice.reason})"
    for found in choice.incompatibilities:
        document.report("incompatible-mode", f"mode agent_centric{why} is impossible: {found.reason}", found.path,
                        "write `mode: system_design`, or remove this", key=True)  # fmt: skip
