"""Events reach the engine or travel in the verdict: neither lost nor late for the step."""

from __future__ import annotations

import itertools
import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_sop_provider.audit.event_lines import read_events
from airflow_sop_provider.contract import engine_access
from airflow_sop_provider.contract.verdict import Verdict
from airflow_sop_provider.contract.verdict_lines import VerdictLines, lines_of
from airflow_sop_provider.runner.environment import RunnerEnvironment
from airflow_sop_provider.runner.event_shipper import EventShipper, ShippingError, post_events
from airflow_sop_provider.runner.lines import EVENT_LIMIT, EventLog, Redactor
from airflow_sop_provider.runner.pending_events import PendingEvent, PendingEvents
from airflow_sop_provider.runtimes.local_files import AttemptFolder

IDENTITY = {"execution": "s/r", "step": "x", "map_index": -1, "attempt": 1}


class Engine:
    """An engine that keeps what it is sent as the real one does: a number once."""

    def __init__(self) -> None:
        self.status = 200
        self.token: str | None = None
        self.requests = 0
        self.seen: list[int] = []
        self.heartbeats = 0
        engine = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                engine.requests += 1
                good = self.path == "/sop/api/v1/runner/events"
                good = good and (engine.token is None or self.headers["Authorization"] == f"Bearer {engine.token}")
                status = engine.status if good else 401
                if status < 300:
                    engine.take(body["events"])
                self.send_response(status)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/sop"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def take(self, events: list[dict]) -> None:
        self.heartbeats += sum(event["event"] == "heartbeat" for event in events)
        for event in events:
            if event["seq"] > max(self.seen, default=0):
                self.seen.append(event["seq"])

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def engine() -> Iterator[Engine]:
    running = Engine()
    yield running
    running.stop()


def events_log(count: int = 0) -> EventLog:
    log = EventLog(None, Redactor(), IDENTITY)
    for number in range(count):
        log.emit("action", n=number)
    return log


def until(condition, seconds: float = 30.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it never came true"
        time.sleep(0.01)


def test_a_thread_brings_them_and_the_verdict_carries_the_rest(engine, tmp_path):
    token = tmp_path / "token"
    token.write_text("old\n")
    engine.token = "new"
    log = events_log(3)
    shipper = EventShipper.to_engine(log.pending, engine.url, token)
    with pytest.raises(ShippingError, match="401"):
        shipper.ship_once()
    token.write_text("new\n")  # it is renewed while the attempt runs
    EventShipper(log.pending, shipper.send, first=0.01, pause=0.01).start()
    until(lambda: engine.seen == [1, 2, 3] and not log.pending.rest())
    log.emit("heartbeat")
    log.emit("action", n=3)
    until(lambda: engine.seen == [1, 2, 3, 4] and engine.heartbeats == 1)
    engine.status = 503
    log.emit("attempt.end")
    assert [event["seq"] for event in log.pending.rest()] == [5]


@pytest.mark.parametrize("status", [400, 401, 404, 413, 422, 429, 500, 503, 302])
def test_what_is_refused_stays(engine, status):
    engine.status = status
    log = events_log(2)
    with pytest.raises(ShippingError, match=str(status)):
        EventShipper.to_engine(log.pending, engine.url, None).ship_once()
    assert len(log.pending.rest()) == 2


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/sop", "ftp://x", "nonsense", "http://[", "http://127.0.0.1:x/"])
def test_an_engine_that_is_not_there_is_one_error(url):
    with pytest.raises(ShippingError, match="cannot be reached"):
        post_events(url, None, b"{}")


def test_a_token_that_is_gone_is_one_error(engine, tmp_path):
    with pytest.raises(ShippingError, match="cannot be reached"):
        post_events(engine.url, tmp_path / "none", b"{}")


@settings(max_examples=100)
@given(data=st.data())
def test_whatever_fails_each_event_arrives_once_and_in_order(data):
    """Answers that are lost, calls that fail, and an end at any moment."""
    engine_has: list[int] = []

    def send(body: bytes) -> None:
        fate = data.draw(st.sampled_from(["taken", "away", "answer lost"]))
        if fate != "away":
            engine_has.extend(e["seq"] for e in json.loads(body)["events"] if e["seq"] > max(engine_has, default=0))
        if fate != "taken":
            raise ShippingError(fate)

    log = events_log()
    shipper = EventShipper(log.pending, send)
    for do in data.draw(st.lists(st.sampled_from(["emit", "ship", "beat"]), max_size=30)):
        if do == "emit":
            log.emit("action")
        elif do == "beat":
            log.emit("heartbeat")
        else:
            try:
                shipper.ship_once()
            except ShippingError:
                continue
    log.emit("attempt.end")
    for event in log.pending.rest():  # the verdict, later
        if event["seq"] > max(engine_has, default=0):
            engine_has.append(event["seq"])
    assert engine_has == list(range(1, len(engine_has) + 1))
    assert next(log._numbers) == len(engine_has) + 1


@given(order=st.permutations(range(1, 8)))
def test_a_number_that_is_missing_holds_back_those_after_it(order):
    pending = PendingEvents()
    for have, seq in enumerate(order, 1):
        pending.add(PendingEvent(seq, b'{"seq":%d}' % seq))
        inside = set(order[:have])
        prefix = list(itertools.takewhile(inside.__contains__, range(1, 9)))
        assert [event.seq for event in pending.batch(100, 1 << 20)] == prefix
    assert [event["seq"] for event in pending.rest()] == list(range(1, 8))


def test_batches_are_bounded():
    log = events_log(500)
    first = log.pending.batch(200, 1 << 20)
    assert len(first) == 200
    assert len(log.pending.batch(200, 1000)) < 20
    assert len(log.pending.batch(200, 1)) == 1, "one at least"
    log.pending.acknowledge(first)
    assert log.pending.batch(1, 1 << 20)[0].seq == 201


def test_memory_is_bounded_and_the_end_always_fits():
    log = EventLog(None, Redactor(), IDENTITY)
    log.pending = PendingEvents(limit=1000)
    for _ in range(100):
        log.emit("action")
    assert log.dropped > 80
    log.emit("attempt.end", dropped_events=log.dropped)
    assert log.pending.rest()[-1]["event"] == "attempt.end"


def test_a_huge_event_is_bounded_and_stays_provable():
    log = EventLog(None, Redactor(), IDENTITY)
    log.emit("action", action="x" * 100_000, exit_code=3, blob=["y"] * 100_000)
    (event,) = log.pending.batch(1, 1)
    assert len(event.text) < EVENT_LIMIT
    record = json.loads(event.text)
    assert (record["seq"], record["event"], record["exit_code"], record["step"]) == (1, "action", 3, "x")
    assert record["dropped_bytes"] > 100_000
    assert len(record["dropped_sha256"]) == 64


def test_secrets_are_gone_before_they_are_sent():
    redactor = Redactor()
    redactor.add("hunter2")
    log = EventLog(None, redactor, IDENTITY)
    log.emit("action", text="hunter2")
    assert b"hunter2" not in log.pending.batch(1, 1)[0].text


def test_a_verdict_keeps_its_events_whole():
    log = events_log(200)
    verdict = Verdict(status="succeeded", outputs={"a": 1}, events=log.pending.rest())
    short = Verdict.model_validate_json(verdict.to_termination_message())
    assert (short.outputs, short.events, short.events_dropped) == ({"a": 1}, (), 200)
    assert not short.outputs_dropped
    assert not verdict.fits_termination_message()
    reader = VerdictLines(short.whole or "")
    reader.add_all(lines_of(verdict))
    assert reader.verdict() == verdict


def test_a_verdict_without_events_is_as_before():
    assert "events" not in json.loads(Verdict(status="succeeded").encoded())
    few = Verdict(status="succeeded", events=events_log(3).pending.rest())
    assert Verdict.model_validate_json(few.to_termination_message()) == few


def test_what_a_killed_runner_left_is_read(tmp_path):
    log = EventLog(tmp_path / "events", Redactor(), IDENTITY)
    log.emit("attempt.begin")
    log.emit("heartbeat")
    log.emit("action")
    text = (tmp_path / "events").read_bytes()
    events = read_events(text + b'\nnull\n[1]\n{"seq":"x"}\n\xff\n' + text + b'{"seq":3,"ev')
    assert [event["event"] for event in events] == ["attempt.begin", "action"]
    assert read_events(b"") == []


def test_the_environment_names_the_engine():
    names = {engine_access.ENGINE_URL: "http://e/sop", engine_access.TOKEN_FILE: "/t", "SOP_STEP": "/s"}
    environment = RunnerEnvironment.read(names)
    assert environment.engine_url == "http://e/sop"
    assert str(environment.engine_token) == "/t"


def test_the_local_runtime_hands_over_what_a_killed_runner_recorded(tmp_path):
    folder = AttemptFolder(tmp_path)
    assert folder.events() == ()
    log = EventLog(tmp_path / "events.jsonl", Redactor(), IDENTITY)
    log.emit("attempt.begin")
    (event,) = folder.events()
    assert (event["seq"], event["event"], "step" in event) == (1, "attempt.begin", False)
