"""What a person sees of an execution."""

import io
from datetime import UTC, datetime, timedelta

import pytest
from rich.console import Console

from tools.dev.progress import LineProgress, LiveProgress, Row, duration, result_text, rows
from tools.dev.rest import StepState

START = datetime(2026, 1, 1, tzinfo=UTC)


def step(name: str, state: str, *, index: int = -1, attempt: int = 1, took: float | None = None) -> StepState:
    started = None if state in {"waiting", "queued"} else START
    ended = START + timedelta(seconds=took) if took is not None else None
    return StepState(name, index, state, attempt, started, ended)


def row(*steps: StepState) -> Row:
    [found] = rows([steps[0].step], steps, now=START + timedelta(seconds=9))
    return found


def test_rows_stand_in_the_order_of_the_graph_and_leave_out_what_is_not_there():
    found = rows(["a", "b", "c"], [step("c", "waiting"), step("a", "success", took=2)])
    assert [each.step for each in found] == ["a", "c"]


def test_time_runs_while_a_step_does_and_stops_with_it():
    assert row(step("a", "running")).elapsed == 9
    assert row(step("a", "success", took=2)).elapsed == 2
    assert row(step("a", "queued")).elapsed is None


@pytest.mark.parametrize(
    ("states", "expected", "count"),
    [
        (["waiting", "waiting"], "waiting", "0 of 2"),
        (["success", "waiting"], "running", "1 of 2"),
        (["failed", "running"], "running", "1 of 2"),
        (["success", "failed"], "failed", "2 of 2"),
        (["success", "skipped"], "success", "2 of 2"),
        (["skipped", "skipped"], "skipped", "2 of 2"),
        (["queued", "up_for_retry"], "up_for_retry", "0 of 2"),
    ],
)
def test_a_fan_out_is_one_row(states, expected, count):
    found = row(*(step("a", state, index=index, attempt=index + 1) for index, state in enumerate(states)))
    assert (found.state, found.count, found.attempt) == (expected, count, 2)


@pytest.mark.parametrize(
    ("seconds", "text"), [(None, "-"), (0.04, "0.0 s"), (59.9, "59.9 s"), (60, "1:00"), (3725, "62:05")]
)
def test_durations_are_short(seconds, text):
    assert duration(seconds) == text


def test_lines_are_printed_once_per_change():
    stream = io.StringIO()
    with LineProgress(Console(file=stream, width=200)) as progress:
        for state, attempt in (("waiting", 0), ("running", 1), ("running", 1), ("running", 2), ("success", 2)):
            progress.show([Row("a", state, "", attempt, 1.0)])
    assert stream.getvalue().splitlines() == [
        "a: running, attempt 1, 1.0 s",
        "a: running, attempt 2, 1.0 s",
        "a: success, attempt 2, 1.0 s",
    ]


def test_the_table_shows_state_attempt_and_time():
    stream = io.StringIO()
    with LiveProgress(Console(file=stream, width=100, force_terminal=True, color_system=None)) as progress:
        progress.show([Row("classify[x]", "running", "3 of 8", 2, 65.0)])
    for text in ("classify[x]", "running", "3 of 8", "2", "1:05"):
        assert text in stream.getvalue()


def test_a_result_is_readable_and_bounded():
    assert result_text({"summary": "fine", "rows": [1, 2]}) == ("summary: fine\nrows:\n- 1\n- 2", 0)
    assert result_text("a\nb\n") == ("a\nb", 0)
    text, left_out = result_text(list(range(100)))
    assert len(text.splitlines()) == 60
    assert left_out == 40
