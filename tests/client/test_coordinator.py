"""The client against the real app over a real socket; and against a server that is away or misbehaves."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import httpx
import pytest
from airflow.utils.session import create_session
from click.testing import CliRunner

from airflow_sop_provider.audit.verify import verify_path
from airflow_sop_provider.cli.app import app
from airflow_sop_provider.client import (
    AsyncExecutionCoordinator,
    EngineError,
    ExecutionCoordinator,
    NotAllowedError,
    RefusedError,
)
from airflow_sop_provider.client import coordinator as module
from airflow_sop_provider.runs.reconcile import reconcile
from tests.api.test_executions import finish, runs


@pytest.fixture
def engine(url: str, token: str):
    with ExecutionCoordinator(url, token=token) as made:
        yield made


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module.time, "sleep", lambda _: None)


def test_submit_follow_result(engine, chain, set_tasks) -> None:
    execution = engine.submit_execution(chain, {"number": 3}, priority="high", schedule={"batch": "b"})
    sop, run_id = execution.split("/", 1)
    assert engine.get_execution_status(execution).status == "SUBMITTED"
    with pytest.raises(TimeoutError, match="SUBMITTED after 0 s"):
        engine.wait(execution, timeout=0)
    set_tasks(sop, run_id, first="success", second="success")
    finish(sop, run_id, "success")
    end = engine.wait(execution)
    assert (end.status, end.progress, end.is_final) == ("COMPLETED", 1.0, True)
    found = engine.result(execution)
    assert (found["execution"]["inputs"], found["result"]["failed"]) == ({"number": 3}, [])
    assert [one["run_id"] for one in engine.list_executions(batch="b")["executions"]] == [run_id]


def test_what_is_refused_says_why_and_creates_nothing(engine, chain) -> None:
    before = runs(chain)
    with pytest.raises(RefusedError, match="did you mean `number`"):
        engine.submit_execution(chain, {"nombre": 1})
    with pytest.raises(RefusedError, match="runs as system_design"):
        engine.submit_execution(chain, execution_mode="agent_centric")
    with pytest.raises(RefusedError, match="no SOP"):
        engine.submit_execution("unknown")
    with pytest.raises(RefusedError, match="priority"):
        engine.submit_execution(chain, priority="urgent")
    with pytest.raises(EngineError, match="SOP/RUN_ID"):
        engine.get_execution_status("nonsense")
    assert runs(chain) == before


def test_one_key_is_one_execution(engine, chain) -> None:
    keys = {engine.submit_execution(chain, idempotency_key="k") for _ in range(3)}
    assert len(keys) == 1


def test_cancel(engine, chain) -> None:
    execution = engine.submit_execution(chain)
    engine.cancel_execution(execution, "wrong")
    reconcile(create_session)
    assert engine.wait(execution).status == "CANCELLED"
    with pytest.raises(RefusedError, match="over"):
        engine.cancel_execution(execution)


def test_who_is_not_known_gets_nothing(url, chain) -> None:
    with ExecutionCoordinator(url, token="not.a.token") as stranger, pytest.raises(NotAllowedError):
        stranger.submit_execution(chain)


async def test_the_same_calls_for_an_event_loop(engine, chain, set_tasks) -> None:
    async with AsyncExecutionCoordinator(engine) as calls:
        execution = await calls.submit_execution(chain, {"number": 2})
        assert (await calls.get_execution_status(execution)).current_steps == ()
        await calls.cancel_execution(execution)
        reconcile(create_session)
        assert (await calls.wait(execution)).status == "CANCELLED"
        assert (await calls.result(execution))["execution"]["cancelled_by"] == "admin"


class Flaky(BaseHTTPRequestHandler):
    """Answers 503 to the first two calls, then signs in, then says that the token has expired once."""

    seen: list[tuple[str, str | None, str | None]]

    def do_POST(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def _answer(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        key, bearer = self.headers.get("Idempotency-Key"), self.headers.get("Authorization")
        type(self).seen.append((self.path, key, bearer))
        number = len(type(self).seen)
        if number <= 2:
            self._send(503, {"detail": "later"})
        elif self.path == "/auth/token":
            self._send(201, {"access_token": f"t{number}"})
        elif sum(path != "/auth/token" for path, _, _ in type(self).seen) == 1:
            self._send(401, {"detail": "Token Expired"})
        else:
            self._send(201, {"sop": "s", "run_id": "r"})

    def _send(self, status: int, body: dict) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        pass


def test_calls_are_sent_again_with_the_same_key_and_a_fresh_token() -> None:
    Flaky.seen = []
    with HTTPServer(("127.0.0.1", 0), Flaky) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        with ExecutionCoordinator(f"http://127.0.0.1:{server.server_port}", user="u", password="p") as engine:
            assert engine.submit_execution("s") == "s/r"
        server.shutdown()
    submissions = [(key, bearer) for path, key, bearer in Flaky.seen if path != "/auth/token"]
    assert len(submissions) == 2
    assert submissions[0][0] == submissions[1][0]
    assert submissions[0][1] != submissions[1][1]


def test_a_server_that_is_away_is_one_clear_line() -> None:
    with (
        ExecutionCoordinator("http://127.0.0.1:9", token="t") as engine,
        pytest.raises(EngineError, match="not answer"),
    ):
        engine.get_execution_status("a/b")


@pytest.mark.parametrize("asynchronous", [False, True])
async def test_waiting_outlasts_a_restart_of_the_server(asynchronous) -> None:
    """The server is killed while somebody waits, is away for longer than a call is repeated, and comes back."""
    answers = [("RUNNING", 200), *[("", 503)] * 9, *[("away", 0)] * 9, ("RUNNING", 200), ("COMPLETED", 200)]
    asked: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        status, code = answers[len(asked)]
        asked.append(status)
        if not code:
            raise httpx.ConnectError("refused", request=request)
        body = {
            "execution": "s/r", "status": status, "progress": 0.5, "elapsed_seconds": 1.0, "current_steps": [],
            "steps": {}, "flagged": False,
        }  # fmt: skip
        return httpx.Response(code, json=body)

    with ExecutionCoordinator("http://127.0.0.1:9", token="t") as engine:
        engine._client = httpx.Client(base_url="http://127.0.0.1:9", transport=httpx.MockTransport(answer))
        if asynchronous:
            found = await AsyncExecutionCoordinator(engine).wait("s/r", poll_seconds=0)
        else:
            found = engine.wait("s/r", poll_seconds=0)
    assert (found.status, len(asked)) == ("COMPLETED", len(answers))


def test_waiting_for_what_is_not_there_is_an_error_at_once(engine) -> None:
    with pytest.raises(RefusedError, match="no execution"):
        engine.wait("no/such")
    with pytest.raises(EngineError, match="is no execution"):
        engine.wait("nonsense")


# -- the command line --------------------------------------------------------------------------------------------------


def test_the_commands_do_what_they_say(sop, chain, set_tasks) -> None:
    execution = sop("submit", chain, "--inputs", '{"number": 5}', "--batch", "cli").output.split()[-1]
    assert execution.startswith(f"{chain}/manual__")
    assert "SUBMITTED, 0%" in sop("status", execution).output
    assert json.loads(sop("status", execution, "--json").output.splitlines()[-1])["steps"] == {
        "first": "pending",
        "second": "pending",
    }
    assert execution in sop("list", "--batch", "cli").output
    assert json.loads(sop("list", "--batch", "cli", "--json").output.splitlines()[-1])["next_cursor"] is None
    assert json.loads(sop("result", execution, "--json").output)["result"] is None
    cancelled = sop("cancel", execution, "--reason", "enough", "--json")
    assert cancelled.exit_code == 0
    assert json.loads(cancelled.stdout) == {"execution": execution, "cancelled": True, "reason": "enough"}
    reconcile(create_session)
    assert "CANCELLED" in sop("status", execution).output


def test_an_export_is_saved_once_and_verifies(sop, chain, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("AIRFLOW__SOP__AUDIT_KEY_FILE", str(tmp_path / "audit.key"))
    execution = sop("submit", chain).output.split()[-1]
    reconcile(create_session)
    path = tmp_path / "export.zip"
    assert sop("export", execution, "-o", str(path)).output.split()[-1] == str(path)
    report = verify_path(path)
    assert (report.problems, report.digests) == ([], 1)
    before = path.read_bytes()
    other = tmp_path / "other.zip"
    said = json.loads(sop("export", execution, "-o", str(other), "--json").stdout)
    assert said == {"file": str(other), "bytes": other.stat().st_size}
    again = sop("export", execution, "-o", str(path))
    assert (again.exit_code, "File exists" in again.stderr) == (1, True)
    assert path.read_bytes() == before
    assert sop("export", f"{chain}/none").exit_code == 4


def test_following_ends_with_the_executions_verdict(sop, chain, set_tasks) -> None:
    execution = sop("submit", chain, "--key", "followed").output.split()[-1]
    run_id = execution.split("/", 1)[1]
    set_tasks(chain, run_id, first="success", second="failed")
    finish(chain, run_id, "failed")
    followed = sop("submit", chain, "--key", "followed", "--follow")
    assert (followed.exit_code, "FAILED" in followed.output) == (1, True)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["submit", "unknown"], "refused: There is no SOP unknown"),
        (["submit", "x", "--inputs", "{"], "--inputs is not JSON"),
        (["submit", "x", "--inputs", "[]"], "JSON object"),
        (["status", "nonsense"], "SOP/RUN_ID"),
    ],
)
def test_mistakes_are_one_clear_line(sop, arguments, says) -> None:
    answer = sop(*arguments)
    assert answer.exit_code != 0
    assert says in answer.output
    assert "Traceback" not in answer.output


def test_who_calls_has_to_be_said(url, chain) -> None:
    answer = CliRunner().invoke(app, ["status", "a/b"], env={"SOP_TOKEN": "", "SOP_USER": "", "SOP_URL": url})
    assert (answer.exit_code, "SOP_TOKEN" in answer.output) == (2, True)
