"""Plain scalars mean the same to every reader of YAML, or are refused."""

from __future__ import annotations

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from airflow_sop_provider.sop import check_text
from airflow_sop_provider.sop.scalars import Ambiguous, plain_scalar, tagged_scalar

PIECES = [
    "0",
    "1",
    "7",
    "-",
    "+",
    ".",
    ":",
    "e",
    "E",
    "x",
    "o",
    "b",
    "_",
    "yes",
    "no",
    "off",
    "true",
    "null",
    "~",
    "inf",
    "nan",
    "T",
    " ",
    "9" * 20,
]


def _same(one: object, other: object) -> bool:
    return type(one) is type(other) and one == other


@given(st.lists(st.sampled_from(PIECES), min_size=1, max_size=6).map("".join).filter(lambda text: text == text.strip()))
def test_what_is_accepted_means_the_same_in_yaml_1_1_and_1_2(text: str):
    found = plain_scalar(text)
    try:
        old = yaml.safe_load(f"- {text}")[0]
        new = YAML(typ="safe", pure=True).load(f"- {text}")[0]
    except (yaml.YAMLError, YAMLError, ValueError):
        return
    if isinstance(found, Ambiguous):
        assert len(text) > 18 or not (old == new == text), text
        return
    if isinstance(old, (str, int, float, bool, type(None))) and (not isinstance(old, str) or old == text):
        assert _same(found, old), (text, found, old)
        assert found == new, (text, found, new)


@pytest.mark.parametrize(
    "text",
    [
        "yes",
        "No",
        "on",
        "OFF",
        "012",
        "1_000",
        "0b11",
        "0o7",
        "1:30",
        "1e3",
        "2024-01-01",
        "2024-01-01 10:00:00",
        ".inf",
        ".NaN",
        "1" * 30,
        ".5",
    ],
)
def test_what_readers_disagree_about_is_refused(text: str):
    assert isinstance(plain_scalar(text), Ambiguous)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("", None),
        ("~", None),
        ("null", None),
        ("true", True),
        ("False", False),
        ("12", 12),
        ("-3", -3),
        ("0x1F", 31),
        ("2.5", 2.5),
        ("1.", 1.0),
        ("2.1.0", "2.1.0"),
        ("10m", "10m"),
        ("y", "y"),
        ("-", "-"),
        ("=", "="),
        ("1.0e+3", 1000.0),
    ],
)
def test_what_they_agree_about_is_accepted(text: str, value: object):
    assert _same(plain_scalar(text), value)


def test_tags():
    assert tagged_scalar("tag:yaml.org,2002:str", "2.1") == "2.1"
    assert tagged_scalar("tag:yaml.org,2002:int", "3") == 3
    assert isinstance(tagged_scalar("tag:yaml.org,2002:int", "x"), Ambiguous)
    assert isinstance(tagged_scalar("tag:yaml.org,2002:python/name:os.system", "x"), Ambiguous)
    problems = check_text("sop: !!python/object/apply:os.system [ls]").problems
    assert "tag" in [problem.code for problem in problems]
