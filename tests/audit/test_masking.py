"""What is secret by name, by form or by value does not reach the log."""

from __future__ import annotations

import importlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_sop_provider.audit.masking import MASK, Masker, is_sensitive

SECRET = "Zq9-secret-value-Zq9"


@pytest.mark.parametrize(
    "name",
    ["password", "PASSWORD", "db_password", "api_key", "api-key", "apiKey", "X-Api-Key", "Authorization", "accessToken",
     "client_secret", "secret", "token", "private_key", "privateKey", "cookie", "credentials"],
)  # fmt: skip
def test_names_that_hide(name):
    assert Masker().value({name: SECRET, "other": SECRET}) == {name: MASK, "other": SECRET}
    assert Masker().value({"list": [{name: [SECRET, {"deep": SECRET}]}]}) == {"list": [{name: [MASK, {"deep": MASK}]}]}


@pytest.mark.parametrize("name", ["passage", "step", "tool", "key", "author", "primary_key", "compass"])
def test_names_that_do_not(name):
    assert not is_sensitive(name)


def test_whatever_airflow_hides_is_hidden():
    airflow = importlib.import_module("airflow._shared.secrets_masker.secrets_masker")
    assert [name for name in airflow.DEFAULT_SENSITIVE_FIELDS if not is_sensitive(name)] == []


def test_figures_are_no_secrets():
    usage = {"input_tokens": 12, "token_count": 1.5, "secret_found": True, "password": 1234}
    assert Masker().value(usage) == {**usage, "password": MASK}


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("Authorization: Bearer abc.def-ghi_jkl", "Authorization: Bearer ***"),
        ("basic dXNlcjpwYXNz", "basic ***"),
        ("see eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.abc-_123 there", "see *** there"),
        ("postgresql://me:hunter2@db:5432/x", "postgresql://me:***@db:5432/x"),
        ("redis://:hunter2@db", "redis://:***@db"),
        ("https://host/path?api_key=abc&x=1", "https://host/path?api_key=***&x=1"),
        ("password=hunter2, user=me", "password=***, user=me"),
        ('{"client_secret": "a b c", "x": 1}', '{"client_secret": ***, "x": 1}'),
        ("-----BEGIN RSA PRIVATE KEY-----\nabc\n-----END RSA PRIVATE KEY-----\nrest", "***\nrest"),
        ("-----BEGIN PRIVATE KEY-----\nabc", "***"),
        ("the basic idea is simple", "the basic idea is simple"),
        ("at 10:30, see http://host:8080/a@b", "at 10:30, see http://host:8080/a@b"),
    ],
)
def test_forms_in_texts(text, clean):
    assert Masker().text(text) == clean
    assert Masker().text(clean) == clean, "masking again changes nothing"


@given(before=st.text(), after=st.text(), inner=st.sampled_from([SECRET, SECRET + "-longer"]))
def test_values_that_are_known(before, after, inner):
    masker = Masker([SECRET, SECRET + "-longer", "abc", ""])
    assert SECRET not in masker.text(before + inner + after)
    assert SECRET not in str(masker.value({"x": [before + inner + after], before + inner: 1}))


def test_short_values_are_no_secrets():
    assert Masker(["abc"]).text("abc") == "abc"


@pytest.mark.parametrize(
    "piece", ["a", "://", "eyJ", "eyJ-", "token", "password ", "a://b:", "-----BEGIN PRIVATE KEY-----"]
)
def test_hostile_texts_take_no_time(piece):
    Masker().text(piece * 100_000)  # a quadratic rule would run into the suite's time limit
