"""The runner as the process a runtime starts: environment, exit, signals, full disks, what it imports."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path

import pytest

from .conftest import make_assignment


def wait_for(condition, process):
    """Poll without a limit of our own: a hung test is ended by whoever runs the suite."""
    while not condition():
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)


def test_compute_end_to_end(program):
    result = program.run(make_assignment({"compute": {"a": "inputs.n + 1"}}, inputs={"n": 1}))
    assert result.outputs == {"a": 2}
    assert result.stderr == ""
    # on a machine that takes ten seconds for it there are heartbeats, too
    said = [event["event"] for event in result.events if event["event"] != "heartbeat"]
    assert said == ["attempt.begin", "action", "attempt.end"]
    for event in result.events:
        assert event["execution"] == "demo/manual__1"
        assert (event["step"], event["map_index"], event["attempt"]) == ("x", -1, 1)
        assert event["time"].endswith("+00:00")
    assert [event["time"] for event in result.events] == sorted(event["time"] for event in result.events)
    for line in result.log:
        assert {"timestamp", "level", "event"} <= line.keys()
    termination = json.loads((program.folder / "termination").read_text())
    assert termination["outputs"] == {"a": 2}
    assert oct((program.folder / "verdict.json").stat().st_mode)[-3:] == "600"
    usage = result.verdict.usage
    assert usage.peak_memory_bytes > 10_000_000
    assert usage.cpu_seconds > 0
    assert usage.wall_seconds >= result.verdict.first_action_seconds > 0
    assert usage.network_received_bytes is None  # not ours alone outside a container


def test_a_deterministic_step_imports_nothing_heavy(program):
    program.arguments = ("-X", "importtime", "-m", "airflow_sop_provider.runner")
    result = program.run(make_assignment({"compute": {"a": "1"}}))
    assert result.code == 0
    imported = {line.rsplit("|", 1)[1].strip().partition(".")[0] for line in result.stderr.splitlines() if "|" in line}
    assert {"pydantic", "jinja2"} <= imported
    assert not imported & {"airflow", "google", "mcp", "mcp_types", "httpx2", "jsonschema", "asyncio", "yaml"}


def test_attempt_begins_before_anything_slow_is_imported(program):
    program.arguments = ("-X", "importtime", "-c", "import airflow_sop_provider.runner.main")
    result = program.finish(program.start("{}"))
    assert "airflow_sop_provider.runner.main" in result.stderr
    assert "pydantic" not in result.stderr


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"key": 1}'])
def test_assignment_that_is_none(program, text):
    result = program.run(text)
    assert result.failure == ("permanent", "assignment-invalid", 78)


def test_assignment_that_is_missing(program, tmp_path):
    assert program.run("{}", SOP_STEP=str(tmp_path / "none")).failure == ("permanent", "assignment-invalid", 78)


@pytest.mark.parametrize("environment", [{"SOP_STEP": None}, {"SOP_HEARTBEAT_SECONDS": "often"}])
def test_environment_that_cannot_be_used(program, environment):
    result = program.run("{}", **environment)
    assert (result.code, result.verdict) == (78, None)
    assert result.log[-1]["level"] == "error"


def test_heartbeat_while_a_step_blocks(program):
    step = {"command": {"command": ["sh", "-c", "sleep 1.2"]}}
    result = program.run(make_assignment(step), SOP_HEARTBEAT_SECONDS="0.2")
    beats = [event for event in result.events if event["event"] == "heartbeat"]
    assert len(beats) >= 2
    assert beats[0]["elapsed_seconds"] < beats[-1]["elapsed_seconds"]


def running_command(program, script, **environment):
    ready = program.folder / "ready"
    step = {"command": {"command": ["sh", "-c", f"{script}; echo $$ > {ready}.part; mv {ready}.part {ready}; while :; do sleep 0.05; done"]}}  # fmt: skip  # noqa: E501
    process = program.start(make_assignment(step), **environment)
    wait_for(ready.exists, process)
    return process, int(ready.read_text())


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_sigterm_reaches_the_command_and_leaves_a_verdict(program):
    said = program.folder / "said"
    process, _ = running_command(program, f"trap 'echo bye > {said}; exit 0' TERM")
    process.send_signal(signal.SIGTERM)
    result = program.finish(process)
    assert result.failure == ("crash", "cancelled", 143)
    assert said.read_text() == "bye\n"
    assert json.loads((program.folder / "termination").read_text())["error"]["code"] == "cancelled"
    # The heartbeat's thread may still say something; the end is told once.
    assert [event["event"] for event in result.events].count("attempt.end") == 1


def test_command_that_ignores_sigterm_is_killed_after_the_grace(program):
    process, pid = running_command(program, "trap '' TERM", SOP_STOP_GRACE_SECONDS="0.2")
    process.send_signal(signal.SIGTERM)
    assert program.finish(process).failure == ("crash", "cancelled", 143)
    assert not alive(pid)


def test_command_does_not_outlive_a_killed_runner(program):
    process, pid = running_command(program, "true")
    process.kill()
    process.wait()
    while alive(pid):
        time.sleep(0.02)


def test_command_stays_in_the_attempts_process_group(program):
    process, pid = running_command(program, "true")
    assert os.getpgid(pid) == process.pid
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


@pytest.mark.slow
def test_sigterm_during_a_tool_call_ends_at_once_and_takes_the_server_along(program):
    script = "import os, sys, time; open('server', 'w').write(str(os.getpid())); time.sleep(600)"
    fleet = json.dumps({"servers": {"raw": {"transport": "stdio", "command": sys.executable, "args": ["-c", script]}}})
    assignment = make_assignment({"tool": "d.t"}, data_sources={"d": {"server": "raw", "tools": ["t"]}})
    process = program.start(assignment, fleet)
    server = program.folder / "server"
    wait_for(lambda: server.exists() and server.read_text(), process)
    process.send_signal(signal.SIGTERM)
    assert program.finish(process).failure == ("crash", "cancelled", 143)
    while alive(int(server.read_text())):
        time.sleep(0.02)


def test_full_disk_under_the_events_does_not_fail_the_step(program):
    result = program.run(make_assignment({"compute": {"a": "1"}}), SOP_EVENTS="/dev/full")
    assert result.outputs == {"a": 1}


def test_full_disk_under_the_verdict_leaves_the_termination_log_and_the_exit_code(program):
    missing = program.folder / "gone" / "verdict.json"  # as with a full disk: the file cannot be made
    result = program.run(make_assignment({"compute": {"a": "1"}}), SOP_VERDICT=str(missing))
    assert result.code == 0
    assert json.loads((program.folder / "termination").read_text())["outputs"] == {"a": 1}
    assert any("verdict cannot be written" in line["event"] for line in result.log)


def test_full_disk_under_the_termination_log_leaves_the_verdict(program):
    result = program.run(make_assignment({"compute": {"a": "1"}}), SOP_TERMINATION_LOG="/dev/full")
    assert result.outputs == {"a": 1}


def test_nowhere_to_write_at_all_still_ends_with_the_right_code(program):
    result = program.run(
        make_assignment({"decision": {"question": "?", "options": {"a": "b"}}}),
        SOP_TERMINATION_LOG="/dev/full", SOP_EVENTS="/dev/full", SOP_VERDICT="/dev/full/verdict",
    )  # fmt: skip
    assert result.code == 78
