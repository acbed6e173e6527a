"""The runner's parts that are easier to look at alone."""

from __future__ import annotations

import json
import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_sop_provider.contract import Verdict
from airflow_sop_provider.runner import reporting, usage, values
from airflow_sop_provider.runner.environment import RunnerEnvironment, SetupError
from airflow_sop_provider.runner.failures import StepFailureError
from airflow_sop_provider.runner.lines import EventLog, Log, Redactor

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@settings(deadline=None)
@given(JSON)
def test_json_values_stay_as_they_are(value):
    assert values.to_json(value, "v") == value


@settings(deadline=None)
@given(JSON)
def test_digest_and_size_take_every_json_value(value):
    assert values.digest(value) == values.digest(values.to_json(value, "v"))
    assert values.check_size(value, limit=2**40) > 0


def test_iterables_become_lists():
    value = {"t": (1, 2), "g": (n for n in (3, 4)), "s": {"b", "a"}, "r": range(2)}
    assert values.to_json(value, "v") == {"t": [1, 2], "g": [3, 4], "s": ["a", "b"], "r": [0, 1]}


def deep(levels):
    value = 1
    for _ in range(levels):
        value = [value]
    return value


@pytest.mark.parametrize("value", [float("nan"), float("inf"), b"x", object(), {1: 2}, deep(200), [deep(100)]])
def test_what_has_no_json_form_is_refused(value):
    with pytest.raises(StepFailureError) as raised:
        values.to_json(value, "v")
    assert raised.value.code == "not-json"


def test_undefined_is_refused():
    from jinja2 import Undefined

    with pytest.raises(StepFailureError, match="Undefined"):
        values.to_json([Undefined(name="x")], "v")


def test_a_line_cut_by_a_full_disk_is_ended_before_the_next(tmp_path, monkeypatch):
    path = tmp_path / "events"
    events = EventLog(path, Redactor(), {"step": "x"})
    real = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: real(fd, data[:5]))
    events.emit("first")
    monkeypatch.setattr(os, "write", real)
    events.emit("second")
    lines = path.read_text().splitlines()
    assert len(lines) == 2
    assert json.loads(lines[1])["event"] == "second"
    assert [event["event"] for event in events.pending.rest()] == ["first", "second"], "memory has what the disk lost"


def test_events_without_a_file_travel_in_the_verdict(tmp_path):
    events = EventLog(tmp_path / "no" / "folder", Redactor(), {"step": "x"})
    events.emit("x", note=1)
    assert events.dropped == 0
    (event,) = events.pending.rest()
    assert {**event, "time": None} == {"seq": 1, "time": None, "event": "x", "note": 1}


LETTERS = st.text(alphabet='ab"\\\né', min_size=4)


@settings(deadline=None)
@given(secret=LETTERS, before=LETTERS, after=LETTERS)
def test_secrets_never_appear_in_a_line(secret, before, after):
    redactor = Redactor()
    redactor.add(secret)
    cleaned = redactor.clean({"a": [before + secret + after, {"b": secret}], "n": 1})
    assert secret not in cleaned["a"][0]
    assert cleaned["a"][1] == {"b": "***"}
    assert cleaned["n"] == 1


def test_short_values_are_not_blotted_out():
    redactor = Redactor()
    redactor.add("", "no")
    assert redactor.clean("nothing") == "nothing"


def test_log_survives_a_closed_descriptor():
    Log(Redactor(), descriptor=9999).info("x")


def test_verdict_appears_whole_or_not_at_all(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(OSError, match="No space"):
        reporting.write_verdict(Verdict(status="succeeded"), tmp_path / "verdict.json")
    assert list(tmp_path.iterdir()) == []


def test_environment_defaults():
    environment = RunnerEnvironment.read({"SOP_STEP": "/a", "SOP_HEARTBEAT_SECONDS": "600"})
    assert environment.heartbeat_seconds == 30.0
    assert environment.verdict is None
    with pytest.raises(SetupError, match="SOP_STOP_GRACE_SECONDS"):
        RunnerEnvironment.read({"SOP_STEP": "/a", "SOP_STOP_GRACE_SECONDS": "-1"})


@pytest.fixture
def container(tmp_path, monkeypatch):
    """/proc and /sys/fs/cgroup as a container sees them: process 1 is ours."""
    monkeypatch.setattr(os, "getppid", lambda: 1)
    proc, cgroup = tmp_path / "proc", tmp_path / "cgroup"
    for folder in (proc / "1", proc / str(os.getpid()), proc / "net", proc / "self", cgroup):
        folder.mkdir(parents=True)
    (proc / "self" / "status").write_text("Name:\tx\nVmHWM:\t  2048 kB\n")
    (cgroup / "cgroup.procs").write_text(f"1\n{os.getpid()}\n")
    (cgroup / "memory.peak").write_text("123456789\n")
    network(proc, 100, 10)
    return proc, cgroup


def network(proc, received, sent):
    (proc / "net" / "dev").write_text(
        "Inter-|   Receive\n face |bytes\n"
        "    lo: 999 0 0 0 0 0 0 0 999 0 0 0 0 0 0 0\n"
        f"  eth0: {received} 0 0 0 0 0 0 0 {sent} 0 0 0 0 0 0 0\n"
    )


def test_in_a_container_memory_and_network_are_those_of_the_container(container):
    meter = usage.UsageMeter(*container)
    network(container[0], 1100, 510)
    read = meter.read()
    assert read.peak_memory_bytes == 123456789
    assert (read.network_received_bytes, read.network_sent_bytes) == (1000, 500)


def test_cgroup_v1(container):
    proc, cgroup = container
    (cgroup / "memory.peak").unlink()
    (cgroup / "memory").mkdir()
    (cgroup / "memory" / "memory.max_usage_in_bytes").write_text("55\n")
    assert usage.UsageMeter(proc, cgroup).read().peak_memory_bytes == 55


def test_a_shared_cgroup_is_not_ours_to_report(container):
    proc, cgroup = container
    (proc / "4242").mkdir()  # a process that is visible, but not in our cgroup: this is a host
    read = usage.UsageMeter(proc, cgroup).read()
    assert read.network_received_bytes is None
    assert read.peak_memory_bytes != 123456789


def test_without_proc_nothing_is_invented(tmp_path):
    assert usage.seconds_since_process_start(tmp_path) is None
    assert usage.UsageMeter(tmp_path, tmp_path).read().network_sent_bytes is None
