"""JSON Schemas inside an SOP: of inputs, and of steps' results."""

from __future__ import annotations

from collections.abc import Mapping

from airflow_sop_provider.sop.checks.document import Document
from airflow_sop_provider.sop.value_schemas import schema_findings
from airflow_sop_provider.sop.values import default_error
from airflow_sop_provider.sop.yaml_nodes import Path

__all__ = ["RESERVED_INPUTS", "check_schemas"]

RESERVED_INPUTS = frozenset({"priority", "batch"})
"""Keys of a run's conf that are not inputs (design, section 6)."""


def check_schemas(document: Document) -> None:
    """Report reserved input names, schemas that are not valid, and defaults that break their schema."""
    for name, schema in document.mapping("inputs").items():
        path: Path = ("inputs", name)
        if name in RESERVED_INPUTS:
            document.report("reserved-name", f"no input may be called `{name}`: a run's conf uses it for itself", path,
                            f"for example `{name}_value`", key=True)  # fmt: skip
        if isinstance(schema, Mapping) and not _check(document, path, schema):
            reason = default_error(schema)
            if reason:
                document.report("bad-default", f"the default of input `{name}` breaks its schema: {reason}",
                                (*path, "default"))  # fmt: skip
    for step in [*document.steps, *document.rollback]:
        outputs = step.data.get("outputs")
        if isinstance(outputs, Mapping):
            _check(document, (*step.path, "outputs"), outputs)


def _check(document: Document, path: Path, schema: Mapping[str, object]) -> bool:
    """Report what is wrong with a schema; return whether anything is."""
    findings = list(schema_findings(schema))
    for finding in findings:
        document.report("bad-schema", f"JSON Schema: {finding.message}", (*path, *finding.path), finding.suggestion,
                        key=finding.at_key)  # fmt: skip
    return bool(findings)
