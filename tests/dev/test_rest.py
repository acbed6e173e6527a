"""The client of the REST API against a small server that behaves and misbehaves like Airflow's."""

import json
import threading
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import pytest

from tools.dev import rest
from tools.dev.rest import AirflowApi, ApiError

PASSWORD = "pass"
RUN = "manual__2026-01-01T00:00:00+00:00"
RUN_PATH = f"/api/v2/dags/a/dagRuns/{RUN.replace(':', '%3A').replace('+', '%2B')}"
DAG = {"last_parsed_time": "2026-01-01T00:00:00Z", "is_paused": True, "dag_display_name": "A", "is_stale": False}


class FakeAirflow(BaseHTTPRequestHandler):
    def log_message(self, *arguments):
        pass

    def answer(self, status, body):
        text = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def handle_one(self):
        path = urlsplit(self.path)
        length = int(self.headers.get("Content-Length") or 0)
        body = json.loads(self.rfile.read(length)) if length else None
        self.server.seen.append((self.command, path.path, body))
        if path.path == "/auth/token":
            good = body == {"username": "admin", "password": PASSWORD}
            return self.answer(
                201 if good else 401, {"access_token": "t"} if good else {"detail": "Invalid credentials"}
            )
        if path.path != "/api/v2/monitor/health" and self.headers.get("Authorization") != "Bearer t":
            return self.answer(401, {"detail": "no"})
        status, value = self.server.answers[(self.command, path.path)]
        if callable(value):
            status, value = value({key: items[0] for key, items in parse_qs(path.query).items()})
        return self.answer(status, value)

    do_GET = do_POST = do_PATCH = handle_one


@pytest.fixture
def server():
    made = ThreadingHTTPServer(("127.0.0.1", 0), FakeAirflow)
    made.answers, made.seen = {}, []
    thread = threading.Thread(target=made.serve_forever, daemon=True)
    thread.start()
    yield made
    made.shutdown()
    made.server_close()


@pytest.fixture
def api(server, monkeypatch):
    monkeypatch.setattr(rest.time, "sleep", lambda seconds: None)
    made = AirflowApi(f"http://127.0.0.1:{server.server_port}", "admin", PASSWORD)
    yield made
    made.close()


def test_a_login_happens_when_it_is_needed(server, api):
    server.answers["GET", "/api/v2/dags/a"] = (200, DAG)
    for _ in range(2):
        dag = api.dag("a")
    assert dag.read_at == datetime(2026, 1, 1, tzinfo=UTC)
    assert (dag.paused, dag.title, dag.stale) == (True, "A", False)
    assert [path for _, path, _ in server.seen].count("/auth/token") == 1


def test_a_wrong_password_is_said(server):
    api = AirflowApi(f"http://127.0.0.1:{server.server_port}", "admin", "wrong")
    with pytest.raises(ApiError, match="login as admin answered 401: Invalid credentials"):
        api.dag("a")
    api.close()


def test_an_execution_is_triggered_now_and_its_inputs_are_checked(server, api):
    server.answers["POST", "/api/v2/dags/a/dagRuns"] = (200, {})
    run = api.trigger("a", {"x": 1})
    assert run.startswith("manual__")
    assert server.seen[-1][2] == {"dag_run_id": run, "logical_date": None, "conf": {"x": 1}}
    assert api.trigger("a", {"x": 1}) != run
    server.answers["POST", "/api/v2/dags/a/dagRuns"] = (400, {"detail": "Invalid input for param x"})
    with pytest.raises(ApiError, match="answered 400: Invalid input for param x"):
        api.trigger("a", {"x": "?"})


def test_a_lost_answer_to_a_trigger_starts_nothing_twice(server, api, monkeypatch):
    server.answers["GET", "/api/v2/dags/a"] = (200, DAG)
    api.dag("a")  # the login
    answers = iter([(503, {"detail": "busy"}), (409, {"detail": "exists already"})])
    server.answers["POST", "/api/v2/dags/a/dagRuns"] = (0, lambda query: next(answers))
    monkeypatch.setattr(rest, "_run_path", lambda sop, run: RUN_PATH)
    server.answers["GET", RUN_PATH] = (200, {"state": "running"})
    run = api.trigger("a", {})
    sent = [body["dag_run_id"] for _, path, body in server.seen if path == "/api/v2/dags/a/dagRuns"]
    assert sent == [run, run]


def test_a_conflict_without_an_execution_is_told_of(server, api, monkeypatch):
    server.answers["POST", "/api/v2/dags/a/dagRuns"] = (409, {"detail": "exists already"})
    monkeypatch.setattr(rest, "_run_path", lambda sop, run: RUN_PATH)
    server.answers["GET", RUN_PATH] = (404, {"detail": "no such execution"})
    with pytest.raises(ApiError, match="exists already"):
        api.trigger("a", {})


def test_a_server_that_stays_busy_is_told_of(server, api):
    server.answers["PATCH", "/api/v2/dags/a"] = (503, {"detail": "busy"})
    with pytest.raises(ApiError, match="busy"):
        api.unpause("a")


def test_a_read_survives_a_busy_server(server, api):
    answers = iter([(500, {"detail": "database is locked"}), (200, {"state": "running"})])
    server.answers["GET", RUN_PATH] = (0, lambda query: next(answers))
    assert api.run_state("a", RUN) == "running"


def test_long_lists_are_read_page_by_page(server, api):
    items = [
        {"task_id": f"t{n}", "map_index": n, "state": None, "try_number": 0, "start_date": None, "end_date": None}
        for n in range(250)
    ]

    def page(query):
        begin = int(query["offset"])
        return 200, {"task_instances": items[begin : begin + int(query["limit"])], "total_entries": len(items)}

    server.answers["GET", "/api/v2/dags/a/dagRuns/r/taskInstances"] = (0, page)
    steps = api.steps("a", "r")
    assert [step.map_index for step in steps] == list(range(250))
    assert steps[0].state == "waiting"
    assert steps[3].label == "t3[3]"


def test_outputs_dependents_and_logs(server, api):
    base = "/api/v2/dags/a/dagRuns/r/taskInstances/s"
    server.answers["GET", f"{base}/xcomEntries/return_value"] = (200, {"value": {"n": 1}})
    server.answers["GET", "/api/v2/dags/a/tasks"] = (
        200,
        {"tasks": [{"task_id": "s", "downstream_task_ids": ["t"]}, {"task_id": "t", "downstream_task_ids": []}]},
    )
    server.answers["GET", f"{base}/logs/1"] = (200, {"content": [{"event": "one"}, "two"]})
    assert api.outputs("a", "r", "s") == {"n": 1}
    assert api.dependents("a") == {"s": ["t"], "t": []}
    step = rest.StepState("s", -1, "failed", 1, None, None)
    assert api.log("a", "r", step) == ["one", "two"]
    server.answers["GET", f"{base}/logs/1"] = (404, {"detail": "none"})
    server.answers["GET", f"{base}/xcomEntries/return_value"] = (404, {"detail": "none"})
    assert api.log("a", "r", step) == []
    assert api.outputs("a", "r", "s") is None


def test_health_tells_who_has_given_a_sign_of_life(server, api):
    server.answers["GET", "/api/v2/monitor/health"] = (
        200,
        {
            "metadatabase": {"status": "healthy"},
            "scheduler": {"status": "healthy", "latest_scheduler_heartbeat": "2026-01-01T00:00:10+00:00"},
            "triggerer": {"status": "unhealthy", "latest_triggerer_heartbeat": None},
        },
    )
    health = api.health()
    assert health.alive_since("scheduler", datetime(2026, 1, 1, 0, 0, 5, tzinfo=UTC))
    assert not health.alive_since("scheduler", datetime(2026, 1, 1, 0, 0, 15, tzinfo=UTC)), "the last start's heartbeat"
    assert not health.alive_since("triggerer", datetime(2026, 1, 1, tzinfo=UTC))
    assert not health.alive_since("dag_processor", datetime(2026, 1, 1, tzinfo=UTC))


def test_a_server_that_is_not_there(monkeypatch):
    monkeypatch.setattr(rest.time, "sleep", lambda seconds: None)
    api = AirflowApi("http://127.0.0.1:9", "admin", "x")
    assert api.health() is None
    with pytest.raises(ApiError, match="was not answered"):
        api.dag("a")
    api.close()
