"""DAGs that know the document they come from, and the DAG that is none.

Airflow shows the source of a DAG's ``fileloc`` in the Code tab and the text of an exception, with
Python frames around it, as import error. People who write SOPs should see their YAML in the one
and our message in the other. Both happen in `validate`, which Airflow calls for every DAG of a file
just before it takes it in: an error raised there is shown as its text alone.
"""

from __future__ import annotations

from pathlib import Path

from airflow.sdk import DAG

__all__ = ["RefusedSop", "SopDag", "SopImportError"]


class SopImportError(ValueError):
    """An SOP cannot become a DAG; the message is all that is shown."""


class SopDag(DAG):
    """The DAG of an SOP.

    :ivar document: the SOP's file where the Code tab is to show it, else None.
    """

    document: Path | None = None

    def validate(self) -> None:
        """Validate as every DAG; from then on the document counts as the DAG's source."""
        super().validate()  # type: ignore[no-untyped-call]  # Airflow has no types there
        if self.document is not None:
            self.fileloc = str(self.document)


class RefusedSop(DAG):
    """Stands for documents that are no valid SOPs: importing it fails with their problems.

    :ivar message: what is wrong.
    """

    message: str = ""

    def validate(self) -> None:
        """Refuse.

        :raises SopImportError: always.
        """
        raise SopImportError(self.message)
