"""Commands: what they are given, what is taken from them, and what their exit codes mean."""

from __future__ import annotations

import os
import sys

import pytest


def shell(script: str, **command):
    return {"command": {"command": ["sh", "-c", script], **command}}


def test_outputs_file(attempt):
    assert attempt(shell('echo \'{"a": [1]}\' > "$SOP_OUTPUTS"')).outputs == {"a": [1]}


def test_without_outputs(attempt):
    assert attempt(shell("true")).outputs == {"exit_code": 0}


def test_arguments_and_environment_are_rendered(attempt):
    step = shell('printf \'["%s", "%s", "%s"]\' "$0" "$1" "$X" > "$SOP_OUTPUTS"',
                 args=["{{ inputs.a }}", "{{ inputs.n }}"], env={"X": "n={{ inputs.n }}"})  # fmt: skip
    assert attempt(step, inputs={"a": "x; echo y", "n": 3}).outputs == ["x; echo y", "3", "n=3"]


def test_environment_holds_nothing_of_ours(attempt, monkeypatch):
    monkeypatch.setenv("FLEET_PASSWORD", "hunter2")
    monkeypatch.setenv("SOP_STEP", "/somewhere")
    result = attempt({"command": {"command": [sys.executable, "-c",
        "import os, json; json.dump(sorted(os.environ), open(os.environ['SOP_OUTPUTS'], 'w'))"]}})  # fmt: skip
    assert "FLEET_PASSWORD" not in result.outputs
    assert "SOP_STEP" not in result.outputs


def test_each_line_is_logged_once_as_json(attempt):
    result = attempt(shell("seq 1 200; echo problem >&2; printf 'no newline'"))
    lines = [(line["event"], line["level"]) for line in result.log if line.get("source")]
    assert [text for text, level in lines if level == "info"] == [str(n) for n in range(1, 201)] + ["no newline"]
    assert ("problem", "warning") in lines


def test_very_long_lines_and_bytes_that_are_not_text(attempt):
    result = attempt(shell("head -c 200000 /dev/zero | tr '\\0' x; printf '\\377\\n'"))
    text = "".join(line["event"] for line in result.log if line.get("source"))
    assert text == "x" * 200000 + "�"


@pytest.mark.parametrize(
    ("code", "kind"),
    [(65, "permanent"), (69, "permanent"), (75, "transient"), (77, "permanent"), (78, "permanent"), (3, "crash")],
)
def test_exit_codes_pass_through(attempt, code, kind):
    result = attempt(shell(f"echo last words >&2; exit {code}"))
    assert result.failure == (kind, "command-failed", code)
    assert result.verdict.error.details == {"exit_code": code, "last_lines": ["last words"]}


def test_ended_by_a_signal_is_a_crash(attempt):
    assert attempt(shell("kill -9 $$")).failure == ("crash", "command-failed", 137)


def test_program_that_does_not_exist(attempt):
    result = attempt({"command": {"command": ["no-such-program"]}})
    assert result.failure == ("permanent", "command-not-found", 78)


def test_no_program_at_all(attempt):
    assert attempt({"command": {}}).failure == ("permanent", "command-empty", 78)


def test_args_alone_name_the_program(attempt):
    assert attempt({"command": {"args": ["true"]}}).outputs == {"exit_code": 0}


@pytest.mark.parametrize("text", ["{", "NaN", '{"a": Infinity}', "[" * 100_000])
def test_outputs_that_are_not_json(attempt, tmp_path, text):
    (tmp_path / "text").write_text(text)
    assert attempt(shell(f'cp {tmp_path}/text "$SOP_OUTPUTS"')).failure == ("permanent", "command-outputs", 65)


def test_outputs_that_are_too_large(attempt):
    script = 'head -c 700000 /dev/zero > "$SOP_OUTPUTS"'
    assert attempt(shell(script)).failure == ("permanent", "output-too-large", 65)


def test_outputs_are_checked(attempt):
    step = {**shell("true"), "outputs": {"required": ["a"]}}
    assert attempt(step).failure == ("permanent", "outputs-schema", 65)


def test_a_step_of_another_image_does_not_run_in_this_one(attempt):
    result = attempt({"command": {"image": "tool:1", "command": ["true"]}})
    assert result.failure == ("permanent", "image-not-used", 78)
    assert "tool:1" in result.verdict.error.message


def test_a_daemon_that_holds_the_pipe_does_not_hold_the_step(attempt, monkeypatch):
    monkeypatch.setattr("airflow_sop_provider.runner.command._DRAIN_SECONDS", 0.05)
    result = attempt(shell('sleep 60 & echo "$!" > "$SOP_OUTPUTS"'))
    os.kill(result.outputs, 9)
    assert result.code == 0
