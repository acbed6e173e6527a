"""Events of a runner while the engine is away or late: the runner's own sender against the real endpoint."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

import pytest
import uvicorn
from airflow.utils.session import create_session
from fastapi import FastAPI

from airflow_sop_provider.api.runner_auth import signing_key
from airflow_sop_provider.engine.runner_tokens import runner_token
from airflow_sop_provider.runner import event_shipper
from airflow_sop_provider.runner.event_shipper import EventShipper
from airflow_sop_provider.runner.pending_events import PendingEvent, PendingEvents
from airflow_sop_provider.store.attempts import AttemptBegin, begin_attempt
from airflow_sop_provider.store.audit_log import chain_entries
from airflow_sop_provider.store.executions import open_execution
from tests.store.facts import attempt_key, context_of, run_facts

EVENTS = 100


class Late:
    """Answers, from a moment on, later than the runner waits; what it was asked is done all the same."""

    def __init__(self, app, seconds: float) -> None:
        self.app, self.seconds, self.calls = app, seconds, 0

    async def __call__(self, scope, receive, send) -> None:
        self.calls += 1
        late = self.calls <= 3

        async def sending(message) -> None:
            if late:
                await asyncio.sleep(self.seconds)
            await send(message)

        await self.app(scope, receive, sending)


@contextmanager
def serving(app, port: int) -> Iterator[None]:
    server = uvicorn.Server(uvicorn.Config(app, port=port, log_level="error", lifespan="off"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    yield
    server.should_exit = server.force_exit = True
    thread.join()


@pytest.fixture
def port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def shipper(client, port, tmp_path) -> EventShipper:
    key = attempt_key()
    with create_session() as session:
        begin_attempt(session, open_execution(session, run_facts(), context_of()), AttemptBegin(key=key, kind="step"))
    token = tmp_path / "token"
    token.write_text(runner_token(key, signing_key(), timeout_seconds=600, now=datetime.now(UTC)))
    made = EventShipper.to_engine(PendingEvents(), f"http://127.0.0.1:{port}/sop", token)
    return EventShipper(made.pending, made.send, first=0.05, pause=0.05)


def emit(pending: PendingEvents, numbers: range) -> None:
    for number in numbers:
        event = {"seq": number, "time": datetime.now(UTC).isoformat(), "event": "action", "n": number}
        pending.add(PendingEvent(number, json.dumps(event).encode()))


def stored() -> list[int]:
    with create_session() as session:
        entries = chain_entries(session, "software-licence-review/manual__1")
    return [entry.metadata["n"] for entry in entries if entry.kind == "action"]


def wait_until(true) -> None:
    limit = time.monotonic() + 60
    while not true():
        assert time.monotonic() < limit
        time.sleep(0.05)


def test_what_happens_while_the_engine_is_down_is_there_once_when_it_is_back(client, port, shipper) -> None:
    outer = FastAPI()
    outer.mount("/sop", client.app)
    shipper.start()
    with serving(outer, port):
        emit(shipper.pending, range(1, 31))
        wait_until(lambda: stored())
    emit(shipper.pending, range(31, 71))
    time.sleep(0.5)
    assert len(stored()) <= 30, "it is away"
    with serving(outer, port):
        emit(shipper.pending, range(71, EVENTS + 1))
        wait_until(lambda: len(stored()) >= EVENTS)
        wait_until(lambda: not shipper.pending.batch(1, 1))
    assert stored() == list(range(1, EVENTS + 1))


def test_what_the_engine_answers_too_late_is_sent_again_and_there_once(client, port, shipper, monkeypatch) -> None:
    monkeypatch.setattr(event_shipper, "_TIMEOUT_SECONDS", 0.2)
    outer = FastAPI()
    outer.mount("/sop", client.app)
    late = Late(outer, 1.0)
    with serving(late, port):
        emit(shipper.pending, range(1, EVENTS + 1))
        shipper.start()
        wait_until(lambda: not shipper.pending.batch(1, 1))
        assert late.calls > 3, "it was sent again"
        time.sleep(1.0)  # what it has answered late has been done by now
    assert stored() == list(range(1, EVENTS + 1))
