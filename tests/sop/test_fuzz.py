"""Valid SOPs are accepted in whatever style, broken ones end in problems inside the file, and nothing else happens."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_sop_provider.sop import CheckResult, Sop, SopError, check_file, check_text, set_mode
from tests.strategies import broken_texts, dump, sop_documents, sop_texts

BREAKS = "\x85\u2028\u2029"


def _problems_lie_inside(result: CheckResult, text: str) -> None:
    assert result.ok != bool(result.problems)
    for mark in ("\r\n", "\r", *BREAKS):
        text = text.replace(mark, "\n")
    lines = text.split("\n")
    for problem in result.problems:
        assert 1 <= problem.line <= len(lines)
        assert 1 <= problem.column <= len(lines[problem.line - 1]) + 1
        assert problem.code
        assert problem.render()
        assert problem.as_dict()["message"]


@pytest.mark.slow
@settings(max_examples=200)
@given(sop_texts())
def test_valid_sops_are_accepted_and_survive_json(text: str):
    loaded = check_text(text).unwrap()
    sop = loaded.sop
    assert Sop.model_validate(sop.model_dump(mode="json", exclude_none=True)) == sop
    assert loaded.mode.mode in ("system_design", "agent_centric")
    assert set(loaded.graph.order) == {step.id for step in sop.steps}


@given(sop_documents(), st.sampled_from(["block", "flow", "quoted", "json"]))
def test_the_style_of_the_yaml_does_not_matter(document: dict[str, Any], style: str):
    assert check_text(dump(document, style)).unwrap().sop == check_text(dump(document)).unwrap().sop


@pytest.mark.slow
@settings(max_examples=400)
@given(broken_texts())
def test_broken_sops_end_in_problems_inside_the_file(text: str):
    result = check_text(text)
    _problems_lie_inside(result, text)
    try:
        set_mode(text, "system_design")
    except SopError as error:
        _problems_lie_inside(CheckResult("x", None, error.problems), text)


@given(st.text() | st.text(alphabet="sop:teps- {}[]&*!|>'\"\n\t#%@`,?x1~<"))
def test_any_text(text: str):
    _problems_lie_inside(check_text(text), text)


@settings(max_examples=100)
@given(
    data=st.binary()
    | sop_texts().flatmap(
        lambda text: st.builds(
            lambda at, junk: text.encode()[:at] + junk + text.encode()[at:], st.integers(0, 500), st.binary(max_size=5)
        )
    )
)
def test_any_bytes(tmp_path_factory: Any, data: bytes):
    path: Path = tmp_path_factory.getbasetemp() / "any.yaml"
    path.write_bytes(data)
    result = check_file(path)
    _problems_lie_inside(result, data.decode("utf-8-sig", "replace"))
