"""From an SOP to an Airflow DAG; nothing else.

In an ordinary DAG file::

    from dag_factory import load_sops  # airflow dag

    load_sops("/opt/sops", globals())

`SopBundle` does the same with one DAG file per SOP, which is faster and keeps one SOP's errors to itself.
"""

from __future__ import annotations

from dag_factory.build import build_dag
from dag_factory.loading import dag_of_file, load_sops, refuse
from dag_factory.sop_dag import RefusedSop, SopDag, SopImportError

__all__ = ["RefusedSop", "SopDag", "SopImportError", "build_dag", "dag_of_file", "load_sops", "refuse"]
