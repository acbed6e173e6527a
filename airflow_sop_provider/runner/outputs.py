"""Checks a step's outputs against the JSON Schema the SOP declares for them."""

from __future__ import annotations

from typing import Any

from airflow_sop_provider.contract.json_schemas import SchemaCheck, UnusableSchemaError
from airflow_sop_provider.runner.failures import bad_configuration, bad_data

__all__ = ["check_outputs", "violation"]


def check_outputs(outputs: object, schema: dict[str, Any] | None) -> None:
    """Refuse outputs that break the step's ``outputs`` schema.

    :raises StepFailureError: exit 65 (``outputs-schema``) naming the path of the first violation;
        exit 78 (``outputs-schema-invalid``) if the schema is none.
    """
    if schema is None:
        return
    found = violation(outputs, schema, code="outputs-schema-invalid", what="The step's `outputs`")
    if found is not None:
        path, message = found
        raise bad_data(
            "outputs-schema",
            f"The outputs break the step's schema at `{path}`: {message}",
            path=path,
        )


def violation(value: Any, schema: dict[str, Any], *, code: str, what: str) -> tuple[str, str] | None:
    """Return (JSON path, message) of the violation that explains most, None if ``value`` fits.

    :raises StepFailureError: exit 78 (``code``) if ``schema`` is not a JSON Schema.
    """
    try:
        return SchemaCheck(schema).violation(value)
    except UnusableSchemaError as problem:
        raise bad_configuration(code, f"{what} is not a usable JSON Schema: {problem}") from problem
