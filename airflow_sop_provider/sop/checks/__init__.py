"""Checks over the whole document: what no single field can know.

They work on plain data with places, not on models, and take nothing for granted, so that they
run, and find what they can, in a document that has other mistakes too.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from airflow_sop_provider.sop.checks.document import Document
from airflow_sop_provider.sop.problems import Problem
from airflow_sop_provider.sop.source import Source
from airflow_sop_provider.sop.yaml_nodes import Node

__all__ = ["check_document"]


def check_document(data: Mapping[str, Any], root: Node, source: Source) -> list[Problem]:
    """Return every problem of the document as a whole."""
    document = Document(data, root, source)
    return document.problems
