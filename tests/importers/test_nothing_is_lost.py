"""Whatever the document: the SOP is valid, and every step of the source is in the report exactly once."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_sop_provider.importers.flow import Imported, ImportFailedError
from airflow_sop_provider.importers.reading import import_text
from airflow_sop_provider.sop import check_text
from tests.importers.documents import cacao, ssm, xsoar


def imported(form: str, document: dict[str, Any]) -> Imported | None:
    try:
        return import_text(json.dumps(document).encode(), form, "generated")
    except ImportFailedError as error:
        if "has no step that an SOP could carry out" not in str(error):
            raise
        return None


def check(found: Imported, expected: list[str]) -> None:
    assert Counter(entry.source for entry in found.entries) == Counter(expected)
    result = check_text(found.text)
    assert [problem.render() for problem in result.problems] == []
    steps = {step.id: step for step in result.unwrap().sop.steps}
    told = [step for entry in found.entries for step in entry.steps]
    assert set(told) == set(steps)
    for entry in found.entries:
        assert entry.outcome == "mapped" or entry.note, "what is not the same is explained"
        if entry.outcome == "refused" and entry.steps:
            assert any(steps[step].approval is not None for step in entry.steps), "a person does it"


@given(ssm())
def test_ssm(document: dict[str, Any]) -> None:
    expected = [step["name"] for step in document["mainSteps"]]
    expected += [f"{step['name']}/inner" for step in document["mainSteps"] if step["action"] == "aws:loop"]
    if (found := imported("ssm", document)) is not None:
        check(found, expected)


@given(xsoar())
def test_xsoar(document: dict[str, Any]) -> None:
    if (found := imported("xsoar", document)) is not None:
        check(found, list(document["tasks"]))


@given(cacao())
def test_cacao(document: dict[str, Any]) -> None:
    if (found := imported("cacao", document)) is not None:
        check(found, list(document["workflow"]))


@given(st.sampled_from(["ssm", "xsoar", "cacao"]), st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
        st.sampled_from(["schemaVersion", "mainSteps", "name", "tasks", "starttaskid", "type", "workflow", "inputs"]),
        inner, max_size=4),
    max_leaves=12,
))  # fmt: skip
def test_what_is_no_document_is_refused_in_words(form: str, value: Any) -> None:
    with pytest.raises(ImportFailedError):
        import_text(json.dumps(value).encode(), form, "x")


@given(st.sampled_from(["ssm", "xsoar", "cacao"]), st.binary(max_size=60) | st.text(max_size=60).map(str.encode))
def test_bytes_of_any_kind_are_refused_in_words(form: str, content: bytes) -> None:
    with pytest.raises(ImportFailedError):
        import_text(content, form, "x")
