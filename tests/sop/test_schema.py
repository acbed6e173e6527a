"""The JSON Schema that editors use agrees with the models."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from jsonschema import Draft202012Validator

from airflow_sop_provider.sop import json_schema
from tests.strategies import sop_documents

VALIDATOR = Draft202012Validator(json_schema())


def test_it_is_a_schema_with_a_name():
    schema = json_schema()
    Draft202012Validator.check_schema(schema)
    assert schema["$id"].startswith("urn:")
    assert set(schema["required"]) == {"sop", "version", "title", "steps"}


def test_every_field_is_described():
    def fields(value: Any) -> Iterator[tuple[str, dict[str, Any]]]:
        if isinstance(value, dict):
            yield from value.get("properties", {}).items() if isinstance(value.get("properties"), dict) else ()
            for item in value.values():
                yield from fields(item)

    missing = [
        name for name, field in fields(json_schema()) if isinstance(field, dict) and not field.get("description")
    ]
    assert missing == []


@given(sop_documents())
def test_valid_documents_fit_it(document: dict[str, Any]):
    assert [error.message for error in VALIDATOR.iter_errors(document)] == []


def test_the_design_sample_fits_it():
    sample = yaml.safe_load(Path(__file__).with_name("design_sample.yaml").read_text())
    assert list(VALIDATOR.iter_errors(sample)) == []


@pytest.mark.parametrize(
    "change",
    [
        {"sop": "Bad Id"},
        {"unknown": 1},
        {"mode": "x"},
        {"steps": []},
        {"steps": [{"id": "a"}]},
        {"steps": [{"id": "a", "tool": "b.c", "compute": {"x": "1"}}]},
        {"steps": [{"id": "a", "tool": "b.c", "needs": "x"}]},
        {"expected_duration": "10 minutes"},
        {"resources": {"cpu": "x"}},
    ],
)
def test_invalid_documents_do_not(change: dict[str, Any]):
    document = {"sop": "a", "version": "1", "title": "t", "steps": [{"id": "a", "compute": {"x": "1"}}]}
    assert not list(VALIDATOR.iter_errors(document))
    assert list(VALIDATOR.iter_errors({**document, **change}))
