"""The JSON Schema of the SOP language, made from the models, for editors and other tools."""

from __future__ import annotations

from typing import Any

from airflow_sop_provider.sop.models import Sop

__all__ = ["SCHEMA_ID", "json_schema"]

SCHEMA_ID = "urn:airflow-sop-provider:sop:v1"
"""Identifier of the schema; a name, not an address."""


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of an SOP file.

    It holds whatever one field, or the kinds of one step, can say. References between steps,
    expressions and the like are beyond JSON Schema: `sop validate` checks them.
    """
    schema = Sop.model_json_schema(mode="validation")
    header = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": SCHEMA_ID,
        "title": "Standard operating procedure (sop/v1)",
    }
    return {**header, **{key: value for key, value in schema.items() if key not in header}}
