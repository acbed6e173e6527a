"""Our check of JSON Schemas agrees with the meta-schema, and is stricter only about unknown keywords."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator, SchemaError

from airflow_sop_provider.sop import value_errors
from airflow_sop_provider.sop.value_schemas import KEYWORDS, TYPES, schema_findings
from airflow_sop_provider.sop.values import default_error

STRICTER = ("unknown keyword", "regular expression", "`enum` is a list of at least one value")
AIRFLOWS = {"section", "description_md", "values_display", "definitions"}
values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-2, 3)
    | st.floats(-1, 2, width=16)
    | st.sampled_from([*TYPES, "", "(", "^a$"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["a", "b", "("]), inner, max_size=2),
    max_leaves=4,
)
schemas = st.recursive(
    st.booleans()
    | st.dictionaries(
        st.sampled_from(sorted(KEYWORDS - AIRFLOWS - {"$ref", "$id", "$schema", "$anchor"})), values, max_size=3
    ),
    lambda inner: (
        st.dictionaries(st.sampled_from(["items", "not", "if"]), inner, max_size=2)
        | st.dictionaries(st.sampled_from(["allOf", "prefixItems"]), st.lists(inner, max_size=2), max_size=2)
        | st.dictionaries(
            st.sampled_from(["properties", "$defs"]), st.dictionaries(st.sampled_from("ab"), inner), max_size=2
        )
    ),
    max_leaves=4,
)


@given(schemas)
def test_agrees_with_the_meta_schema(schema: Any):
    try:
        Draft202012Validator.check_schema(schema)
        valid = True
    except SchemaError:
        valid = False
    findings = list(schema_findings(schema))
    if not findings:
        assert valid
    if valid:  # what remains is what the meta-schema leaves to others
        assert all(any(part in found.message for part in STRICTER) for found in findings), findings


@pytest.mark.parametrize(
    ("schema", "path"),
    [
        ({"$ref": "http://elsewhere/x"}, ("$ref",)),
        ({"$ref": "#/$defs/x"}, ("$ref",)),
        ({"$ref": "#nothing"}, ("$ref",)),
        ({"properties": {"a": {"$ref": "other.json"}}}, ("properties", "a", "$ref")),
        ({"allOf": [True, {"tipe": "x"}]}, ("allOf", 1, "tipe")),
        ({"patternProperties": {"(": True}}, ("patternProperties", "(")),
        ({"properties": {"a": {"required": True}}}, ("properties", "a", "required")),
    ],
)
def test_mistakes_have_a_place(schema: Any, path: tuple[Any, ...]):
    assert [found.path for found in schema_findings(schema)] == [path]


@pytest.mark.parametrize(
    "schema",
    [
        {"$ref": "#"},
        {"$defs": {"a/b": {}}, "$ref": "#/$defs/a~1b"},
        {"allOf": [{}], "$ref": "#/allOf/0"},
        {"x-own": 1, "section": "A", "values_display": {"a": "A"}},
    ],
)
def test_what_is_fine(schema: Any):
    assert list(schema_findings(schema)) == []


def test_values():
    schema = {"type": "object", "required": ["a"], "properties": {"a": {"type": "integer"}}}
    assert value_errors({"a": 1}, schema) == []
    assert value_errors({"a": "x"}, schema) == ["$.a: 'x' is not of type 'integer'"]
    assert value_errors({}, schema) == ["$: 'a' is a required property"]


@pytest.mark.parametrize(
    ("schema", "fits"),
    [
        ({}, True),
        ({"type": "string", "default": "x", "title": "T"}, True),
        ({"type": "string", "default": None}, False),
        ({"type": "integer", "default": True}, False),
        ({"type": "number", "default": 1.5}, True),
        ({"type": ["string", "null"], "default": None}, True),
        ({"enum": ["a"], "default": "b"}, False),
        ({"type": "string", "pattern": "(a+)+$", "default": "a" * 50 + "!"}, True),
        ({"$ref": "#", "default": 1}, True),
    ],
)
def test_defaults(schema: dict[str, Any], fits: bool):
    assert (default_error(schema) is None) == fits
