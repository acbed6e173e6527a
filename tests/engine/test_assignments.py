"""What a runner is given: inputs with defaults, outputs it reads, its item, what it knows of the execution."""

from __future__ import annotations

from datetime import UTC, datetime
from enum import Enum

import pytest

from airflow_sop_provider.contract import AttemptKey, StepPayload
from airflow_sop_provider.engine.assignments import (
    InputsError,
    build_assignment,
    execution_values,
    item_of,
    resolve_inputs,
)

KEY = AttemptKey(sop="s", run_id="r", step="a", attempt=2, task_instance_id="t")
SCHEMAS = {
    "vendor": {"type": "string", "pattern": "^V-[0-9]+$"},
    "limit": {"type": "integer", "default": 3},
    "tags": {"type": "array", "default": []},
    "note": {"type": ["string", "null"], "default": None},
    "day": {"type": "string", "format": "date", "default": "2026-01-01"},
}


def payload(**values):
    return StepPayload(kind="step", sop="s", version="1", digest="d", step={"id": "a"}, **values)


def test_defaults_are_applied_and_reserved_keys_removed():
    inputs = resolve_inputs("s", SCHEMAS, {"vendor": "V-1", "priority": "high", "batch": "b"})
    assert inputs == {"vendor": "V-1", "limit": 3, "tags": [], "note": None, "day": "2026-01-01"}
    assert list(inputs) == list(SCHEMAS)


def test_a_default_is_a_copy():
    resolve_inputs("s", SCHEMAS, {"vendor": "V-1"})["tags"].append("x")
    assert SCHEMAS["tags"]["default"] == []


def test_all_problems_are_told_at_once():
    with pytest.raises(InputsError) as caught:
        resolve_inputs("s", SCHEMAS, {"limit": "three", "vendr": "V-1", "day": "yesterday"})
    assert len(caught.value.problems) == 4
    message = str(caught.value)
    for told in (
        "SOP 's'",
        "`vendr` is not an input; did you mean `vendor`?",
        "`vendor` is missing",
        "`limit`",
        "`day`",
    ):
        assert told in message


def test_an_unlike_key_is_told_what_there_is():
    with pytest.raises(InputsError, match="the inputs are: vendor, limit"):
        resolve_inputs("s", SCHEMAS, {"vendor": "V-1", "zzzzzz": 1})
    with pytest.raises(InputsError, match="the inputs are: none"):
        resolve_inputs("s", {}, {"zzzzzz": 1})


def test_no_schema_is_fetched_from_anywhere():
    with pytest.raises(Exception, match="Unresolvable"):
        resolve_inputs("s", {"x": {"$ref": "http://127.0.0.1:9/schema"}}, {"x": 1})


def test_only_outputs_that_are_read_are_passed_on():
    outputs = {"b": {"v": 1}, "c": {"v": 2}, "m": [1, 2]}
    assignment = build_assignment(KEY, payload(reads=("b", "m", "skipped")), None, outputs)
    assert assignment.steps == {"b": {"v": 1}, "m": [1, 2]}


def test_batch_and_priority_are_readable_as_execution():
    conf = {"batch": "2026-11", "priority": "low"}
    assignment = build_assignment(KEY, payload(), conf, {}, execution={"run_id": "r"})
    assert assignment.execution == {"run_id": "r", "batch": "2026-11", "priority": "low"}
    assert assignment.inputs == {}


def test_without_a_wish_the_priority_is_the_sops():
    assert build_assignment(KEY, payload(priority="high"), {}, {}).execution == {"priority": "high"}


def test_the_item_of_a_for_each():
    mapped = payload(items_task="a_items")
    assert item_of(mapped, 1, {"a_items": ["x", {"y": 1}]}) == {"y": 1}
    assert item_of(payload(), 1, {}) is None
    for items in ({}, {"a_items": ["x"]}, {"a_items": "text"}):
        with pytest.raises(LookupError, match="Clear 'a_items'"):
            item_of(mapped, 1, items)


def test_values_of_the_execution_are_json():
    class Kind(Enum):
        MANUAL = "manual"

    run = {"logical_date": datetime(2026, 1, 2, tzinfo=UTC), "run_type": Kind.MANUAL, "batch": None, "n": 1}
    assert execution_values(KEY, run) == {
        "id": "s/r",
        "sop": "s",
        "run_id": "r",
        "attempt": 2,
        "logical_date": "2026-01-02T00:00:00+00:00",
        "run_type": "manual",
        "n": 1,
    }
