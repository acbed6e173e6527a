"""One text for one value: the rules of RFC 8785, and what of a value reaches them."""

from __future__ import annotations

import json
import math
import struct
from datetime import UTC, date, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_sop_provider.audit.canonical import NotCanonicalError, canonical, jsonable, parse

TEXT = st.text(st.characters(exclude_categories=["Cs"]))
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner) | st.dictionaries(TEXT, inner),
    max_leaves=20,
)
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary() | st.datetimes(),
    lambda inner: st.lists(inner) | st.tuples(inner, inner) | st.dictionaries(st.text() | st.integers(), inner),
    max_leaves=20,
)


# IEEE 754 bits and what ECMAScript writes: the samples of RFC 8785, appendix B
@pytest.mark.parametrize(
    ("bits", "text"),
    [
        ("0000000000000000", "0"),
        ("8000000000000000", "0"),
        ("0000000000000001", "5e-324"),
        ("8000000000000001", "-5e-324"),
        ("7fefffffffffffff", "1.7976931348623157e+308"),
        ("ffefffffffffffff", "-1.7976931348623157e+308"),
        ("4340000000000000", "9007199254740992"),
        ("c340000000000000", "-9007199254740992"),
        ("4430000000000000", "295147905179352830000"),
        ("44b52d02c7e14af5", "9.999999999999997e+22"),
        ("44b52d02c7e14af6", "1e+23"),
        ("44b52d02c7e14af7", "1.0000000000000001e+23"),
        ("444b1ae4d6e2ef4e", "999999999999999700000"),
        ("444b1ae4d6e2ef4f", "999999999999999900000"),
        ("444b1ae4d6e2ef50", "1e+21"),
        ("3eb0c6f7a0b5ed8c", "9.999999999999997e-7"),
        ("3eb0c6f7a0b5ed8d", "0.000001"),
        ("41b3de4355555553", "333333333.3333332"),
        ("41b3de4355555554", "333333333.33333325"),
        ("41b3de4355555555", "333333333.3333333"),
        ("41b3de4355555556", "333333333.3333334"),
        ("41b3de4355555557", "333333333.33333343"),
        ("becbf647612f3696", "-0.0000033333333333333333"),
        ("43143ff3c1cb0959", "1424953923781206.2"),
    ],
)
def test_numbers_are_written_as_ecmascript_does(bits, text):
    (value,) = struct.unpack(">d", bytes.fromhex(bits))
    assert canonical(value).decode() == text


@given(value=st.floats(allow_nan=False, allow_infinity=False))
def test_a_number_reads_back_as_itself(value):
    assert float(canonical(value)) == value


def test_keys_are_sorted_by_utf_16():
    # RFC 8785, section 3.2.3: the sample whose order differs from that of code points
    sample = {
        "\u20ac": "Euro Sign", "\r": "Carriage Return", "\ufb33": "Hebrew Letter Dalet With Dagesh", "1": "One",
        "\U0001f600": "Emoji: Grinning Face", "\u0080": "Control", "\u00f6": "Latin Small Letter O With Diaeresis",
    }  # fmt: skip
    assert list(json.loads(canonical(sample))) == ["\r", "1", "\u0080", "\u00f6", "\u20ac", "\U0001f600", "\ufb33"]


def test_texts_are_escaped_no_more_than_needed():
    assert canonical("\u20ac$\x0f\nA'B\"\\/\x7f").decode() == '"\u20ac$\\u000f\\nA\'B\\"\\\\/\x7f"'


def test_integers_keep_all_their_digits():
    assert canonical(2**53 + 1) == b"9007199254740993"
    assert canonical(10**30) == b"1" + b"0" * 30


@given(value=VALUES)
def test_a_text_is_canonical_once_and_for_all(value):
    text = canonical(value)
    assert canonical(parse(text)) == text
    assert canonical(json.loads(json.dumps(value))) == text, "what a database keeps as JSON hashes the same"


@pytest.mark.parametrize(
    "text", ['{"a": 1}', '{"b":1,"a":1}', '{"a":1,"a":1}', "1.0", "1e2", '"\\u0041"', "NaN", "{", "", " 1", "1\n"]
)
def test_other_spellings_are_refused(text):
    with pytest.raises(NotCanonicalError):
        parse(text)


@pytest.mark.parametrize("value", [math.nan, math.inf, "\ud800", {1: 2}, {"a": object()}, (1,), b"x"])
def test_what_is_no_json_is_refused(value):
    with pytest.raises(NotCanonicalError):
        canonical(value)


def test_what_is_nested_without_end_is_refused_by_name():
    value: list = []
    for _ in range(100_000):
        value = [value]
    with pytest.raises(NotCanonicalError):
        canonical(value)
    with pytest.raises(NotCanonicalError):
        parse(b"[" * 100_000)


@given(value=ANYTHING)
def test_anything_can_be_made_json(value):
    made = jsonable(value)
    assert parse(canonical(made)) == json.loads(canonical(made))
    assert jsonable(made) == made
    assert b"\\u0000" not in canonical(made)


def test_what_becomes_of_what_is_no_json():
    assert jsonable(datetime(2026, 1, 2, 3, tzinfo=UTC)) == "2026-01-02T03:00:00+00:00"
    assert jsonable(date(2026, 1, 2)) == "2026-01-02"
    assert jsonable({"a": (1, {2}), 3: math.inf}) == {"a": [1, [2]], "3": "inf"}
    assert jsonable("a\0b\ud800") == "a\ufffdb\ufffd"
    deep: list = []
    for _ in range(200):
        deep = [deep]
    canonical(jsonable(deep))
