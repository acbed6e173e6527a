"""The log of an attempt: complete, each line once, over crashes and a full disk."""

import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_sop_provider.executors import attempt_log
from airflow_sop_provider.executors.attempt_log import AttemptLog


def _events(path: Path) -> list[str]:
    return [json.loads(line)["event"] for line in path.read_text().splitlines()]


def _feed(log: AttemptLog, lines: list[str], until: int | None = None) -> None:
    """What the pump does: every line of the output that the log does not hold yet."""
    offset = 0
    for number, line in enumerate(lines):
        offset += len(line.encode()) + 1
        if offset <= log.offset:
            continue
        if until is not None and number >= until:
            return
        log.add(offset, line)


def test_plain_and_structured_lines(tmp_path: Path) -> None:
    log = AttemptLog(tmp_path / "attempt.log")
    log.add(6, "plain")
    log.add(
        50, json.dumps({"event": "from the runner", "level": "warning", "timestamp": "2026-01-01T00:00:00Z", "x": 1})
    )
    log.flush()
    plain, structured = (json.loads(line) for line in (tmp_path / "attempt.log").read_text().splitlines())
    assert plain["event"] == "plain"
    assert plain["level"] == "info"
    assert structured["level"] == "warning"
    assert structured["timestamp"] == "2026-01-01T00:00:00Z"
    assert structured["x"] == 1


def test_a_step_cannot_pretend_to_be_the_executor(tmp_path: Path) -> None:
    log = AttemptLog(tmp_path / "attempt.log")
    log.add(10, json.dumps({"event": "x", "logger": "sop.executor", "loc": "output.log:999999"}))
    log.flush()
    entry = json.loads((tmp_path / "attempt.log").read_text())
    assert entry["logger"] == "sop.runner"
    assert AttemptLog(tmp_path / "attempt.log").offset == 10


def test_identical_lines_keep_apart_by_time(tmp_path: Path) -> None:
    log = AttemptLog(tmp_path / "attempt.log")
    _feed(log, ["same"] * 500)
    log.flush()
    stamps = [json.loads(line)["timestamp"] for line in (tmp_path / "attempt.log").read_text().splitlines()]
    assert len(set(stamps)) == 500
    assert stamps == sorted(stamps)


@given(
    lines=st.lists(
        st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\n\r"), max_size=30), max_size=30
    ),
    crash_after=st.integers(0, 30),
    torn=st.binary(max_size=20).filter(lambda data: b"\n" not in data),
)
def test_every_line_once_whatever_the_crash_left(tmp_path_factory, lines, crash_after, torn) -> None:
    path = tmp_path_factory.mktemp("log") / "attempt.log"
    first = AttemptLog(path)
    _feed(first, lines, until=crash_after)
    first.flush()
    with path.open("ab") as file:
        file.write(torn)  # what a killed process or a full disk can leave
    second = AttemptLog(path)
    _feed(second, lines)
    second.flush()
    assert _events(path) == lines


def test_executors_own_lines_do_not_move_the_offset(tmp_path: Path) -> None:
    path = tmp_path / "attempt.log"
    log = AttemptLog(path)
    log.say("info", "Started")
    log.add(4, "one")
    log.flush()
    log.say("warning", "Stopping", container="sop-x")
    again = AttemptLog(path)
    assert again.offset == 4
    assert again.tail(10) == ["one"]


def test_full_disk_leaves_no_half_line_and_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "attempt.log"
    log = AttemptLog(path)
    log.add(4, "one")
    log.flush()
    real_write = os.write
    calls = 0

    def write_some_then_fail(descriptor: int, data: bytes) -> int:
        nonlocal calls
        calls += 1
        if calls == 1:
            return real_write(descriptor, data[:10])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(attempt_log.os, "write", write_some_then_fail)
    log.add(8, "two")
    with pytest.raises(OSError, match="No space"):
        log.flush()
    assert _events(path) == ["one"]
    monkeypatch.undo()
    log.flush()
    assert _events(path) == ["one", "two"]


def test_really_full_device(tmp_path: Path) -> None:
    log = AttemptLog(tmp_path / "attempt.log")
    log._path = Path("/dev/full")  # a device that answers ENOSPC to every write
    log.add(4, "one")
    with pytest.raises(OSError, match="No space"):
        log.flush()
    log._path = tmp_path / "attempt.log"
    log.flush()
    assert _events(tmp_path / "attempt.log") == ["one"]
