"""What counts as the expected output."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from airflow_sop_provider.evals.compare import applied, differs
from airflow_sop_provider.evals.models import Comparison, How
from airflow_sop_provider.evals.paths import MISSING, compile_path, select

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=10,
)


@pytest.mark.parametrize(
    ("actual", "wanted", "fits"),
    [
        (1, {"equals": 1.0}, True),
        (1, {"equals": True}, False),
        (0, {"equals": False}, False),
        ([1, True], {"equals": [1, 1]}, False),
        (None, {"equals": None}, True),
        ({"a": 1}, {"equals": {"a": 1}}, True),
        ({"a": 1}, {"equals": {"a": 2}}, False),
        (1.05, {"near": 1.0, "tolerance": 0.05}, True),
        (1.06, {"near": 1.0, "tolerance": 0.05}, False),
        (110, {"near": 100, "relative": 0.1}, True),
        (111, {"near": 100, "relative": 0.1}, False),
        ("1", {"near": 1.0, "tolerance": 9}, False),
        (True, {"near": 1.0, "tolerance": 9}, False),
        ("V-12", {"matches": r"V-\d+"}, True),
        ("V-12x", {"matches": r"V-\d+"}, False),
        (12, {"matches": r"\d+"}, False),
        (["b", "a", "a"], {"set": ["a", "b"]}, True),
        (["a"], {"set": ["a", "b"]}, False),
        (["a", "b", "c"], {"set": ["a", "b"]}, False),
        ([1], {"set": [True]}, False),
        ("ab", {"set": ["a", "b"]}, False),
        (["a", "b", "c"], {"contains": ["a", "b"]}, True),
        (["a"], {"contains": ["a", "b"]}, False),
        ("the end", {"contains": ["end"]}, True),
        (5, {"contains": ["5"]}, False),
        ("b", {"one_of": ["a", "b"]}, True),
        ("c", {"one_of": ["a", "b"]}, False),
        (MISSING, {"absent": True}, True),
        (1, {"absent": True}, False),
        (MISSING, {"absent": False}, False),
        (1, {"absent": False}, True),
        (MISSING, {"equals": None}, False),
        (MISSING, {"set": []}, False),
    ],
)
def test_comparison(actual: Any, wanted: dict[str, Any], fits: bool) -> None:
    why = differs(actual, Comparison.model_validate(wanted))
    assert (why is None) is fits, why


@pytest.mark.parametrize(
    "wrong", [{}, {"equals": 1, "near": 1}, {"equals": 1, "tolerance": 1}, {"matches": "("}, {"like": 1}]
)
def test_comparison_that_says_nothing_or_too_much(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Comparison.model_validate(wrong)


def test_the_suite_says_how_bare_values_are_compared() -> None:
    assert differs(1.01, applied(Comparison(equals=1), How(way="near", tolerance=0.1))) is None
    assert differs("ab", applied(Comparison(equals="a."), How(way="matches"))) is None
    assert differs("ab", applied(Comparison(one_of=["x"]), How(way="matches"))) is not None


@given(JSON)
def test_every_value_equals_itself_and_is_its_own_set(value: Any) -> None:
    assert differs(value, Comparison(equals=value)) is None
    assert differs([value, value], Comparison(set=[value])) is None
    assert differs(value, Comparison(one_of=[value])) is None


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("report.verdict", "ok"),
        ("$.report.verdict", "ok"),
        ("report.rows[0].n", 1),
        ("report.rows[*].n", [1, 2]),
        ("report.nothing", MISSING),
        ("report.rows[7]", MISSING),
        ("report.nothing[*]", []),
        ("report['odd key']", 3),
    ],
)
def test_path(path: str, found: Any) -> None:
    outputs = {"report": {"verdict": "ok", "rows": [{"n": 1}, {"n": 2}], "odd key": 3}}
    assert select(path, outputs) == found


@pytest.mark.parametrize("path", ["report.", "a[", "a b", ""])
def test_what_is_no_path(path: str) -> None:
    with pytest.raises(ValueError, match="no JSON path"):
        compile_path(path)
