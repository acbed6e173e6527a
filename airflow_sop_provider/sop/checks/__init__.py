"""Checks over the whole document: what no single field can know.

They work on plain data with places, not on models, and take nothing for granted, so that they
run, and find what they can, in a document that has other mistakes too.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Any

from airflow_sop_provider.sop.checks.document import Document, Enough
from airflow_sop_provider.sop.checks.formulas import check_formulas
from airflow_sop_provider.sop.checks.graph import check_graph
from airflow_sop_provider.sop.checks.kinds import check_kinds
from airflow_sop_provider.sop.checks.mode import check_mode
from airflow_sop_provider.sop.checks.schedule import check_schedule
from airflow_sop_provider.sop.checks.schemas import check_schemas
from airflow_sop_provider.sop.checks.tools import check_tools
from airflow_sop_provider.sop.problems import Problem
from airflow_sop_provider.sop.source import Source
from airflow_sop_provider.sop.yaml_nodes import Node

__all__ = ["check_document"]

_CHECKS = (check_kinds, check_graph, check_tools, check_formulas, check_schemas, check_schedule, check_mode)


def check_document(data: Mapping[str, Any], root: Node, source: Source) -> list[Problem]:
    """Return every problem of the document as a whole."""
    document = Document(data, root, source)
    with contextlib.suppress(Enough):
        for check in _CHECKS:
            check(document)
    return document.problems
