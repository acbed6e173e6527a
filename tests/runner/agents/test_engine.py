"""An agent whose container knows an engine: data through its gateway, progress in its checkpoint."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from airflow_sop_provider.runner.agents.checkpoint import EngineCheckpoint, NoCheckpoint, Progress
from airflow_sop_provider.runner.failures import StepFailureError
from tests.fleet.gateway_parts import served
from tests.runner.agents.conftest import SERVER, SOURCES
from tests.runner.conftest import make_assignment

STEPS = [
    {"id": "history", "tool": "vendors.history", "arguments": {"vendor": "V-1"}},
    {"id": "freeze", "tool": "vendors.freeze", "arguments": {"vendor": "V-1"}},
]
SOP = {"sop": "demo", "version": "1", "title": "Demo", "data_sources": SOURCES, "steps": STEPS}


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[dict[str, str]]:
    """Variables of a container that knows a gateway in front of the test server."""
    server = {"transport": "stdio", "command": "python", "args": [str(SERVER), str(tmp_path)], "timeout": 30}
    with served({"vendors-server": server}) as fleet:
        token = tmp_path / "token"
        token.write_text(fleet.token(*SOURCES["vendors"]["tools"], server="vendors-server"))
        yield {"SOP_ENGINE_URL": fleet.url, "SOP_ENGINE_TOKEN_FILE": str(token)}


def _work(agent: dict[str, Any]) -> Any:
    return make_assignment(SOP, kind="agent_centric", agent=agent, data_sources=SOURCES)


def test_an_agents_data_comes_through_the_gateway(program, script, calls, engine) -> None:
    result = program.run(_work(script()), **engine)  # without a fleet.yaml
    assert list(result.outputs["steps"]) == ["history", "freeze"]
    assert [name for name, _ in calls()] == ["history", "freeze"]
    assert engine["SOP_ENGINE_TOKEN_FILE"] not in json.dumps(result.log)
    events = [event["event"] for event in result.events]
    assert (events.count("tool.call"), events.count("data.access")) == (2, 0)  # the gateway has written the records
    assert result.event("agent.conformance")["conforms"]


def test_a_call_that_was_cut_is_asked_of_the_gateways_journal_and_not_made_again(
    program, script, calls, engine
) -> None:
    (program.folder / "slow.txt").write_text("3")
    process = program.start(_work(script()), **engine)
    while ["freeze", {"vendor": "V-1"}] not in calls():
        time.sleep(0.02)
    process.kill()
    program.finish(process)
    time.sleep(4)  # the gateway's own call goes on meanwhile
    result = program.run(_work(script()), **engine)
    assert result.outputs["steps"]["freeze"] == {"frozen": "V-1"}
    assert [name for name, _ in calls()] == ["history", "freeze"]


class _Engine(BaseHTTPRequestHandler):
    kept = b"null"
    answer = b""
    status = 200

    def do_GET(self) -> None:
        self._reply(self.kept)

    def do_PUT(self) -> None:
        assert self.headers["Authorization"] == "Bearer the-token"
        type(self).kept = self.rfile.read(int(self.headers["Content-Length"]))
        self._reply(self.answer)

    def _reply(self, body: bytes) -> None:
        self.send_response(self.status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def store(tmp_path: Path) -> Iterator[tuple[EngineCheckpoint, type[_Engine]]]:
    handler = type("Engine", (_Engine,), {})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    (tmp_path / "token").write_text("the-token\n")
    handler.url = f"http://127.0.0.1:{server.server_port}"
    yield EngineCheckpoint(f"http://127.0.0.1:{server.server_port}", tmp_path / "token", NoCheckpoint()), handler
    server.shutdown()
    server.server_close()


async def test_progress_is_kept_by_the_engine(store) -> None:
    checkpoint, _ = store
    assert await checkpoint.load() is None
    await checkpoint.save(Progress(outputs={"a": 1}))
    assert (await checkpoint.load()).outputs == {"a": 1}


@pytest.mark.parametrize(("status", "kind"), [(503, "transient"), (429, "transient"), (403, "permanent")])
async def test_an_engine_that_refuses_is_not_taken_for_one_without_progress(store, status, kind) -> None:
    checkpoint, handler = store
    handler.status = status
    with pytest.raises(StepFailureError) as caught:
        await checkpoint.load()
    assert caught.value.error_type == kind


async def test_an_engine_without_checkpoints_leaves_it_to_the_file(store) -> None:
    checkpoint, handler = store
    handler.status = 404
    assert await checkpoint.load() is None
    await checkpoint.save(Progress(outputs={"a": 1}))
    assert handler.kept == b"null"


async def test_an_engine_of_an_older_release_says_nothing_of_other_steps(store) -> None:
    checkpoint, handler = store
    for answer in (b"", b"{}", b"null", b"[]"):
        handler.answer = answer
        assert await checkpoint.save(Progress()) is None


@pytest.mark.parametrize(
    ("budget", "elsewhere", "what"),
    [
        ({"model_calls": 3}, {"model_calls": 3}, "model calls"),
        ({"tokens": 1000}, {"input_tokens": 900, "output_tokens": 100}, "tokens"),
        ({"time": "1h"}, {"seconds": 3600.0}, "seconds"),
    ],
)
def test_what_other_steps_of_the_execution_spent_counts(
    store, attempt, script, monkeypatch, tmp_path, budget, elsewhere, what
) -> None:
    _, handler = store
    handler.answer = json.dumps({"spent_elsewhere": elsewhere}).encode()
    monkeypatch.setenv("SOP_ENGINE_URL", handler.url)
    monkeypatch.setenv("SOP_ENGINE_TOKEN_FILE", str(tmp_path / "token"))
    step = {"agent": {"instruction": "Say."}}
    result = attempt(step, agent=script(agent={"budget": budget}, answers={"x": "said"}))
    assert result.failure == ("permanent", "agent-budget", 69)
    assert result.verdict.error.details["budget"] == what
    assert result.verdict.usage.model_calls == 0, "the model was not asked"
    more = {name: 2 * limit if isinstance(limit, int) else "2h" for name, limit in budget.items()}
    assert attempt(step, agent=script(agent={"budget": more}, answers={"x": "said"})).outputs == {"text": "said"}


def test_what_is_spent_is_kept_after_every_answer(store, attempt, script, monkeypatch, tmp_path) -> None:
    _, handler = store
    monkeypatch.setenv("SOP_ENGINE_URL", handler.url)
    monkeypatch.setenv("SOP_ENGINE_TOKEN_FILE", str(tmp_path / "token"))
    kept: list[int] = []
    put = handler.do_PUT
    monkeypatch.setattr(
        handler, "do_PUT", lambda self: (put(self), kept.append(json.loads(self.kept)["spent"]["model_calls"]))
    )
    turns = [{"call": "made_up"}, {"call": "another"}]
    attempt({"agent": {"instruction": "Say."}}, agent=script(turns=turns, agent={"budget": {"tokens": 10_000}}))
    assert kept[:4] == [0, 1, 2, 3]
