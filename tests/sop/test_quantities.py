"""Durations and quantities: what is written, what it means, what is refused."""

from datetime import timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_sop_provider.sop.durations import MAX_DURATION, format_duration, parse_duration
from airflow_sop_provider.sop.quantities import bytes_of, millis_of, parse_quantity
from airflow_sop_provider.sop.step_models import Resources


@given(st.integers(1, int(MAX_DURATION.total_seconds())))
def test_a_duration_survives_being_written(seconds: int):
    assert parse_duration(format_duration(timedelta(seconds=seconds))) == timedelta(seconds=seconds)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "m",
        "10",
        "1.5h",
        "-1m",
        "10 m",
        "1m1h",
        "1m1m",
        "PT10M",
        "1w",
        "0s",
        "0d0h",
        "9" * 20 + "s",
        "3661d",
        "1s\n",
    ],
)
def test_what_is_no_duration(text: str):
    with pytest.raises(ValueError, match="duration"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1", 1),
        ("250m", "0.25"),
        ("0.5", "0.5"),
        (".5", "0.5"),
        ("5.", 5),
        ("2k", 2000),
        ("256Mi", 2**28),
        ("1e3", 1000),
        ("1E", 10**18),
        ("1E2", 100),
        ("1e-3", "0.001"),
        ("3n", "3e-9"),
    ],
)
def test_quantities(text: str, value: object):
    assert parse_quantity(text) == Decimal(str(value))


@pytest.mark.parametrize(
    "text", ["", "x", "1KB", "1 Gi", "-1", "+1", "1mi", "1e999", "1Ki2", "Mi", "9" * 40, "9Ei9", "10Ei"]
)
def test_what_is_no_quantity(text: str):
    with pytest.raises(ValueError, match="quantit"):
        parse_quantity(text)


def test_units_are_rounded_up():
    assert (millis_of("1u"), millis_of("1500m"), bytes_of("1.5"), bytes_of("1Ki")) == (1, 1500, 2, 1024)


def test_numbers_are_kept_as_text():
    resources = Resources.model_validate({"cpu": 0.5, "memory": 1000000})
    assert (resources.cpu, resources.memory, resources.cpu_millis) == ("0.5", "1000000", 500)
    assert resources.max_memory_bytes is None
