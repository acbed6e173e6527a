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


def test_nobody_there_is_transient(attempt, model) -> None:
    model.server_close()
    assert attempt(STEP, agent=AGENT).failure[:2] == ("transient", "model-unreachable")


def test_a_key_that_is_not_set_and_a_model_nobody_has(attempt, model, monkeypatch) -> None:
    monkeypatch.delenv("THE_KEY")
    assert attempt(STEP, agent=AGENT).failure == ("permanent", "model-key-missing", 78)
    assert attempt(STEP, agent={"model": "nobody-has-it"}).failure == ("permanent", "unknown-model", 78)
