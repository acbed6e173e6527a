"""A model over HTTP that misbehaves, on a real server: each way has its error type."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.runner.agents.model_server import call as _call
from tests.runner.agents.model_server import completion as _completion
from tests.runner.agents.model_server import serving

STEP = {"agent": {"instruction": "Say hello."}}


@pytest.fixture
def model(tmp_path: Path, monkeypatch) -> Iterator[Any]:
    monkeypatch.setenv("SOP_MODELS", str(tmp_path / "models.yaml"))
    monkeypatch.setenv("THE_KEY", "sk-very-secret")
    with serving(tmp_path) as server:
        yield server


AGENT = {"model": "openai:some-model", "temperature": 0.5, "max_tokens": 77}


def test_it_is_asked_with_the_sops_numbers_and_the_sites_key(attempt, model) -> None:
    model.answers = [(200, _completion({"content": "Hello."}))]
    result = attempt(STEP, agent=AGENT)
    assert result.outputs == {"text": "Hello."}
    ((body, key),) = model.asked
    assert (body["model"], body["temperature"], body["max_tokens"]) == ("some-model", 0.5, 77)
    assert key == "Bearer sk-very-secret"
    assert (result.verdict.usage.input_tokens, result.verdict.usage.output_tokens) == (7, 3)
    assert "sk-very-secret" not in json.dumps([result.events, result.log]) + result.verdict.model_dump_json()


@pytest.mark.parametrize(
    ("answer", "failure"),
    [
        ((429, {"error": {"message": "slow down"}}), ("transient", "model-http-429", 75)),
        ((503, "busy"), ("transient", "model-http-503", 75)),
        ((401, {"error": {"message": "no key sk-very-secret"}}), ("permanent", "model-http-401", 77)),
        ((404, "no such model"), ("permanent", "model-http-404", 78)),
        ((400, "bad request"), ("permanent", "model-http-400", 65)),
        ((200, "hang"), ("transient", "model-timeout", 75)),
        ((200, _completion({"content": ""})), ("permanent", "model-empty-answer", 65)),
        ((200, _completion({"content": None}, "length")), ("permanent", "model-max-tokens", 65)),
        ((200, _call("made_up", "{}")), ("permanent", "agent-loop", 65)),
        ((200, _call("made_up", "{not json")), ("permanent", "model-malformed-call", 65)),
        ((200, _call("made_up", "[1]")), ("permanent", "model-malformed-call", 65)),
        ((200, "nothing"), ("transient", "model-unreachable", 75)),
        ((200, "cut"), ("transient", "model-unreachable", 75)),
        ((200, "drip"), ("transient", "model-timeout", 75)),
        ((200, "<html>welcome</html>"), ("permanent", "model-protocol", 65)),
        ((200, {"models": []}), ("permanent", "model-protocol", 65)),
        ((200, {**_completion({}), "choices": []}), ("permanent", "model-other", 65)),
    ],
)
def test_every_fault_has_its_type(attempt, model, answer, failure) -> None:
    model.answers = [answer]
    result = attempt(STEP, agent=AGENT)
    assert result.failure == failure
    assert "sk-very-secret" not in result.verdict.model_dump_json()


def test_a_call_that_is_no_json_is_asked_for_again(attempt, model) -> None:
    model.answers = [(200, _call("made_up", "{not json")), (200, _completion({"content": "Hello."}))]
    result = attempt(STEP, agent=AGENT)
    assert (result.outputs, result.verdict.usage.repairs) == ({"text": "Hello."}, 1)


NUMBER = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}


@pytest.mark.parametrize("text", ['{"n": "three"}', "three", "[]", "{}"])
def test_output_that_breaks_the_schema_is_asked_for_again_then_refused(attempt, model, text) -> None:
    model.answers = [(200, _completion({"content": text})), (200, _completion({"content": '{"n": 3}'}))]
    result = attempt({**STEP, "outputs": NUMBER}, agent=AGENT)
    assert (result.outputs, result.verdict.usage.repairs) == ({"n": 3}, 1)
    model.answers = model.answers[:1]
    model.asked.clear()
    result = attempt({**STEP, "outputs": NUMBER}, agent=AGENT)
    assert result.failure == ("permanent", "agent-answer-invalid", 65)
    assert (len(model.asked), result.verdict.usage.repairs) == (3, 2)


def test_a_model_that_invents_one_function_after_another_is_ended(attempt, model) -> None:
    model.answers = [(200, _call(f"made_up_{number}", "{}")) for number in range(30)]
    assert attempt(STEP, agent=AGENT).failure == ("permanent", "agent-invented-tool", 77)
    assert len(model.asked) == 11


def test_a_model_that_calls_for_ever_is_ended_by_the_limit_of_calls(attempt, model, tmp_path) -> None:
    from tests.runner.agents.conftest import SOURCES, fleet_of

    calls = [json.dumps({"vendor": f"V-{number}"}) for number in range(30)]
    model.answers = [(200, _call("vendors__history", call)) for call in calls]
    step = {"agent": {"instruction": "Look.", "tools": ["vendors.history"]}}
    agent = {**AGENT, "budget": {"model_calls": 8}}
    result = attempt(step, fleet_of(tmp_path), agent=agent, data_sources=SOURCES)
    assert result.failure == ("permanent", "agent-budget", 69)
    assert (len(model.asked), result.verdict.usage.tool_calls) == (8, 8)


def test_nobody_there_is_transient(attempt, model) -> None:
    model.server_close()
    assert attempt(STEP, agent=AGENT).failure[:2] == ("transient", "model-unreachable")


def test_a_key_that_is_not_set_and_a_model_nobody_has(attempt, model, monkeypatch) -> None:
    monkeypatch.delenv("THE_KEY")
    assert attempt(STEP, agent=AGENT).failure == ("permanent", "model-key-missing", 78)
    assert attempt(STEP, agent={"model": "nobody-has-it"}).failure == ("permanent", "unknown-model", 78)
