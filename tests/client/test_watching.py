"""`sop watch`, `logs`, `metrics`, `audit list`, `list`, `result` and their exit codes, against the real app."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
import threading
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from airflow.models.taskinstance import TaskInstance
from airflow.utils.session import create_session
from click.testing import CliRunner
from sqlalchemy import select

from airflow_sop_provider.cli import main, step_logs
from airflow_sop_provider.cli.app import app
from airflow_sop_provider.client import ExecutionCoordinator, following
from airflow_sop_provider.contract.attempt import AttemptKey
from airflow_sop_provider.engine.execution_state import ExecutionStatus
from airflow_sop_provider.runs.reconcile import reconcile
from airflow_sop_provider.store.attempts import AttemptBegin, AttemptEnd, begin_attempt, end_attempt
from airflow_sop_provider.store.executions import find_execution
from tests.api.test_executions import finish
from tests.client.conftest import call_sop


def submitted(sop, chain, *options: str) -> str:
    return str(sop("submit", chain, *options).output.split()[-1])


def ended(chain: str, execution: str, set_tasks, state: str = "success") -> None:
    run_id = execution.split("/", 1)[1]
    set_tasks(chain, run_id, first="success", second=state)
    finish(chain, run_id, state)


def attempted(execution: str, number: int = 1, *, map_index: int = -1, **end: object) -> None:
    """Have the engine's tables know an attempt of the step `first`; one that goes on if no ``state`` is given."""
    name, run_id = execution.split("/", 1)
    key = AttemptKey(
        sop=name, run_id=run_id, step="first", map_index=map_index, attempt=number,
        task_instance_id=f"t-{map_index}",
    )  # fmt: skip
    with create_session() as session:
        row = find_execution(session, name, run_id)
        begin_attempt(session, row, AttemptBegin(key=key, kind="step", runtime="local"))
        if end:
            end_attempt(session, row, AttemptEnd(key=key, **end))


# -- watch -------------------------------------------------------------------------------------------------------------


def test_watching_shows_changes_and_ends_with_them(sop, chain, set_tasks) -> None:
    execution = submitted(sop, chain)
    timer = threading.Timer(1.0, ended, (chain, execution, set_tasks))
    timer.start()
    done = sop("watch", execution)
    timer.join()
    lines = done.stdout.splitlines()
    assert lines[0].startswith(f"{execution}  SUBMITTED  0%")
    assert lines[-1].startswith(f"{execution}  COMPLETED  100%")
    assert done.exit_code == 0


def test_watching_several_fails_if_one_does(sop, chain, set_tasks) -> None:
    first, second = submitted(sop, chain), submitted(sop, chain)
    ended(chain, first, set_tasks)
    ended(chain, second, set_tasks, "failed")
    done = sop("watch", first, second, "--json")
    shown = {line["execution"]: line["status"] for line in map(json.loads, done.stdout.splitlines())}
    assert shown == {first: "COMPLETED", second: "FAILED"}
    assert done.exit_code == 1


def test_watching_gives_up_in_time_and_the_execution_goes_on(sop, chain) -> None:
    execution = submitted(sop, chain)
    done = sop("watch", execution, "--timeout", "1s")
    assert (done.exit_code, "go on" in done.stderr) == (124, True)
    assert "SUBMITTED" in sop("status", execution).output


def test_bars_are_for_terminals(url, token, chain, sop, set_tasks) -> None:
    execution = submitted(sop, chain)
    ended(chain, execution, set_tasks)
    master, slave = pty.openpty()
    command = [sys.executable, "-c", "from airflow_sop_provider.cli import main; main()", "watch", execution]
    environment = {**os.environ, "SOP_URL": url, "SOP_TOKEN": token, "TERM": "xterm", "COLUMNS": "200"}
    environment.pop("NO_COLOR", None)
    with subprocess.Popen(command, stdout=slave, stderr=slave, env=environment) as process:
        os.close(slave)
        seen = b""
        try:
            while piece := os.read(master, 4096):
                seen += piece
        except OSError:  # what Linux says at the end of a terminal
            pass
    os.close(master)
    assert process.returncode == 0
    assert "100%" in seen.decode()
    assert "\x1b[32mCOMPLETED" in seen.decode(), "in green"
    assert "\x1b[" not in sop("watch", execution).output, "no colours in a pipe"


def test_too_many_at_once_are_refused(sop) -> None:
    done = sop("watch", *(f"a/{number}" for number in range(51)))
    assert (done.exit_code, "at most 50" in done.output) == (2, True)


class Breaking(BaseHTTPRequestHandler):
    """Breaks off after each event, and answers 503 once in between."""

    answers = 0

    def do_GET(self) -> None:
        type(self).answers += 1
        if self.answers == 2:
            self.send_error(503)
            return
        status = "RUNNING" if self.answers < 4 else "COMPLETED"
        body = {
            "execution": "a/b", "status": status, "progress": 0.5, "elapsed_seconds": 1.0, "current_steps": [],
            "steps": {}, "flagged": False,
        }  # fmt: skip
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.end_headers()
        self.wfile.write(f": still there\n\nevent: status\ndata: {json.dumps(body)}\n\n".encode())

    def log_message(self, *_: object) -> None:
        pass


def test_a_stream_that_breaks_is_taken_up_and_nothing_is_told_twice(monkeypatch) -> None:
    monkeypatch.setattr("time.sleep", lambda _seconds: None)
    Breaking.answers = 0
    with HTTPServer(("127.0.0.1", 0), Breaking) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        with ExecutionCoordinator(f"http://127.0.0.1:{server.server_port}", token="t") as engine:
            assert [now.status for now in engine.follow("a/b")] == ["RUNNING", "COMPLETED"]
        server.shutdown()
    assert Breaking.answers == 4


def test_a_stream_that_never_comes_is_given_up(monkeypatch) -> None:
    waited: list[float] = []
    monkeypatch.setattr("time.sleep", waited.append)
    with (
        ExecutionCoordinator("http://127.0.0.1:9", token="t") as engine,
        pytest.raises(following.EngineError, match="does not answer"),
    ):
        list(engine.follow("a/b"))
    assert waited == [1, 2, 4, 8, 16]


# -- logs --------------------------------------------------------------------------------------------------------------


def write_log(execution: str, *events: str, attempt: int = 1) -> None:
    """Write what the executor's child writes, where it writes it, and have Airflow know the try."""
    name, run_id = execution.split("/", 1)
    with create_session() as session:
        ti = session.scalars(
            select(TaskInstance).where(
                TaskInstance.dag_id == name, TaskInstance.run_id == run_id, TaskInstance.task_id == "first"
            )
        ).one()
        ti.try_number, ti.state, ti.hostname = attempt, "success", "localhost"
    folder = Path(os.environ["AIRFLOW_HOME"]) / "logs" / f"dag_id={name}" / f"run_id={run_id}" / "task_id=first"
    folder.mkdir(parents=True, exist_ok=True)
    lines = [
        json.dumps({"timestamp": f"2026-11-25T08:00:0{n}Z", "level": "info", "event": event})
        for n, event in enumerate(events)
    ]
    (folder / f"attempt={attempt}.log").write_text("\n".join(lines) + "\n")


def events(done) -> list[str]:
    """Return the events that were printed, without the lines that the server in this process writes to stdout, too."""
    return [line.split("  ")[-1].strip() for line in done.stdout.splitlines() if "[http.access]" not in line]


def test_the_log_of_a_step(airflow_sop, airflow_url, token, chain) -> None:
    execution = submitted(airflow_sop, chain)
    attempted(execution, state="succeeded")
    write_log(execution, "one", "two\x1b[2J")
    done = airflow_sop("logs", execution, "first")
    assert done.exit_code == 0, done.output
    assert events(done) == ["one", "two\N{REPLACEMENT CHARACTER}[2J"]
    command = [Path(sys.executable).with_name("sop"), "logs", execution, "first", "--json"]
    environment = {**os.environ, "SOP_URL": airflow_url, "SOP_TOKEN": token}
    as_json = subprocess.run(command, capture_output=True, text=True, env=environment, check=True).stdout
    assert [json.loads(line)["event"] for line in as_json.splitlines()] == ["one", "two\x1b[2J"]


def test_following_a_log_prints_each_line_once_up_to_the_end(airflow_sop, chain, monkeypatch) -> None:
    execution = submitted(airflow_sop, chain)
    attempted(execution)
    write_log(execution, "one")
    looks = iter(
        [
            lambda: write_log(execution, "one", "two"),
            lambda: attempted(execution, state="succeeded"),
            lambda: write_log(execution, "one", "two", "three"),
        ]
    )
    monkeypatch.setattr(step_logs.time, "sleep", lambda _seconds: next(looks)())
    done = airflow_sop("logs", execution, "first", "--follow")
    assert events(done) == ["one", "two", "three"]


def test_a_step_that_has_not_begun_has_no_log(airflow_sop, chain) -> None:
    execution = submitted(airflow_sop, chain)
    done = airflow_sop("logs", execution, "first")
    assert (done.exit_code, "no such attempt" in done.output) == (1, True)


def test_an_item_has_to_be_named(airflow_sop, chain) -> None:
    execution = submitted(airflow_sop, chain)
    attempted(execution, map_index=0)
    attempted(execution, map_index=1)
    done = airflow_sop("logs", execution, "first")
    assert (done.exit_code, "items 0 to 1" in done.output) == (2, True)


# -- metrics, audit, list, result --------------------------------------------------------------------------------------


def test_figures_as_tables_and_as_json(sop, chain, set_tasks) -> None:
    execution = submitted(sop, chain)
    attempted(execution, state="failed", error_type="transient")
    ended(chain, execution, set_tasks)
    shown = sop("metrics", "--since", "1h").output
    assert re.search(r"^COMPLETED +1$", shown, re.M)
    assert re.search(r"^success rate +100.0%$", shown, re.M)
    assert re.search(r"^control T-1 +1 ", shown, re.M)
    assert re.search(r"^transient +1 +100.0%$", shown, re.M)
    assert json.loads(sop("metrics", "--json").output)["counts"]["completed"] == 1
    assert re.search(r"^total +0$", sop("metrics", "--since", "2020-01-01", "--until", "2020-01-02").output, re.M)


FILTERS = [
    (["--execution", "{execution}"], True),
    (["--execution", "{other}"], False),
    (["--sop", "{chain}"], True),
    (["--sop", "else"], False),
    (["--agent", "somebody"], False),
    (["--since", "1h"], True),
    (["--until", "2020-01-01"], False),
    (["--level", "warning"], True),
    (["--level", "error"], False),
    (["--text", "PPED BY A TEST"], True),
    (["--text", "nothing says this"], False),
    (["--kind", "cancel"], True),
    (["--status", "CANCELLED"], True),
    (["--status", "COMPLETED"], False),
]


def test_the_audit_log_by_each_filter(sop, chain) -> None:
    execution, other = submitted(sop, chain), submitted(sop, chain)
    sop("cancel", execution, "--reason", "stopped by a test")
    reconcile(create_session)
    for options, found in FILTERS:
        told = [one.format(execution=execution, other=other, chain=chain) for one in options]
        entries = json.loads(sop("audit", "list", "--json", *told).stdout)["entries"]
        assert any(one["kind"] == "cancel" and one["execution"] == execution for one in entries) is found, options
    assert "stopped by a test" in sop("audit", "list", "--kind", "cancel").stdout


def test_pages_of_the_audit_log(sop, chain) -> None:
    submitted(sop, chain), submitted(sop, chain)
    first = sop("audit", "list", "--limit", "1")
    cursor = first.stderr.split()[-1]
    second = sop("audit", "list", "--limit", "1", "--cursor", cursor)
    assert len(first.stdout.splitlines()) == len(second.stdout.splitlines()) == 2
    assert first.stdout != second.stdout


def test_lists_by_each_filter(sop, chain) -> None:
    execution = submitted(sop, chain, "--batch", "b", "--priority", "high")
    hour_ago = (datetime.now(UTC) - timedelta(hours=1)).isoformat()
    for options in (
        ["--sop", chain], ["--control", "T-1"], ["--batch", "b"], ["--priority", "high"], ["--mode", "system_design"],
        ["--since", "1h"], ["--since", hour_ago], ["--status", "submitted"],
    ):  # fmt: skip
        assert execution in sop("list", *options).output, options
    for options in (["--until", "1h"], ["--priority", "low"], ["--agent", "nobody"], ["--status", "FAILED"]):
        assert execution not in sop("list", *options).output, options


def test_a_moment_that_is_none_is_wrong_usage(sop) -> None:
    done = sop("list", "--since", "yesterday")
    assert (done.exit_code, "how long ago" in done.output) == (2, True)


def test_the_result_for_people(sop, chain, set_tasks) -> None:
    execution = submitted(sop, chain)
    attempted(execution, state="failed", error_type="permanent", message="no such vendor")
    assert sop("result", execution).exit_code == 1
    ended(chain, execution, set_tasks)
    done = sop("result", execution)
    assert done.exit_code == 0
    assert f"{execution}: COMPLETED" in done.output
    assert re.search(r"^first .* permanent +no such vendor *$", done.output, re.M)


# -- exit codes, completion --------------------------------------------------------------------------------------------


def test_exit_codes_tell_what_to_do(sop, url, chain) -> None:
    assert sop("status", f"{chain}/none").exit_code == 4
    assert call_sop(url, "no.such.token", "list").exit_code == 3
    assert call_sop("http://127.0.0.1:9", "t", "cancel", "a/b").exit_code == 5
    assert sop("list", "--limit", "0").exit_code == 2


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_shell_completes(shell, monkeypatch, capsys) -> None:
    assert f"_SOP_COMPLETE={shell}_complete" in CliRunner().invoke(app, ["completion", shell]).output
    words, current = ("sop watch --t", "2") if shell != "fish" else ("sop watch --t", "--t")
    monkeypatch.setenv("_SOP_COMPLETE", f"{shell}_complete")
    monkeypatch.setenv("COMP_WORDS", words)
    monkeypatch.setenv("COMP_CWORD", current)
    with pytest.raises(SystemExit):
        main([])
    assert "--timeout" in capsys.readouterr().out


def test_the_statuses_that_may_be_asked_for_are_the_engines() -> None:
    from airflow_sop_provider.cli.options import STATUSES

    assert list(STATUSES) == [one.value for one in ExecutionStatus]
