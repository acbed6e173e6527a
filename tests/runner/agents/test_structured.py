"""Turns held to a schema: over HTTP, with real ADK and a real MCP server, to models that call no functions."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from airflow_sop_provider.runner.agents.strict_schemas import as_strict, without_nulls
from tests.runner.agents.conftest import SOURCES, fleet_of
from tests.runner.agents.model_server import completion, serving

AGENT = {"model": "openai:small", "max_tokens": 100}
STEP = {"agent": {"instruction": "How many changes has V-1?", "tools": ["vendors.history"]}}


@pytest.fixture
def model(tmp_path: Path, monkeypatch) -> Iterator[Any]:
    monkeypatch.setenv("SOP_MODELS", str(tmp_path / "models.yaml"))
    monkeypatch.setenv("THE_KEY", "sk-very-secret")
    with serving(tmp_path, structured_turns=True, timeout=60) as server:
        yield server


def turn(**fields: Any) -> tuple[int, Any]:
    return 200, completion({"content": json.dumps({"turn": fields})})


HISTORY = turn(call="vendors__history", arguments={"vendor": "V-1"})


@pytest.fixture
def ask(attempt, model, tmp_path) -> Any:
    def run(step: dict[str, Any] = STEP, **parts: Any) -> Any:
        return attempt(step, fleet_of(tmp_path), agent=AGENT, data_sources=SOURCES, **parts)

    return run


def test_a_call_is_made_and_its_answer_is_what_the_model_is_told_next(ask, model, calls) -> None:
    model.answers = [HISTORY, turn(answer="3 changes")]
    result = ask()
    assert result.outputs == {"text": "3 changes"}
    assert calls() == [["history", {"vendor": "V-1"}]]
    (first, _), (second, _) = model.asked
    assert first["tools"] is None
    assert json.loads(second["messages"][-2]["content"])["turn"]["call"] == "vendors__history"
    assert '"changes": 3' in second["messages"][-1]["content"]
    assert second["messages"][-1]["role"] == "user"
    assert result.event("data.access")["ok"]


def test_every_turn_is_held_to_the_calls_and_the_answer(ask, model) -> None:
    model.answers = [turn(answer="none")]
    ask()
    held = model.asked[0][0]["response_format"]
    assert (held["type"], held["json_schema"]["strict"]) == ("json_schema", True)
    fits = jsonschema.Draft202012Validator(held["json_schema"]["schema"]).is_valid
    assert fits({"turn": {"call": "vendors__history", "arguments": {"vendor": "V-1"}}})
    assert fits({"turn": {"answer": "x"}})
    assert not fits({"turn": {"call": "vendors__history", "arguments": {}}})
    assert not fits({"turn": {"call": "made_up", "arguments": {}}})
    assert not fits({"answer": "x"})
    told = model.asked[0][0]["messages"][0]["content"]
    assert "vendors__history: Changes of a vendor" in told


def test_where_a_function_ends_the_work_text_is_no_answer(whole, model) -> None:
    steps = [{"id": "history", "tool": "vendors.history", "arguments": {"vendor": "V-1"}}]
    model.answers = [HISTORY, turn(call="report_result", arguments={"summary": "three"})]
    result = whole(steps, AGENT)
    assert result.outputs == {
        "steps": {"history": {"vendor": "V-1", "changes": 3, "note": "none"}}, "summary": "three",
    }  # fmt: skip
    assert result.event("agent.conformance")["conforms"]
    offered = [set(_calls(body)) for body, _ in model.asked]
    assert offered == [{"vendors__history", "report_status"}, {"report_result", "report_status"}]


def test_a_turn_may_call_what_has_a_use_now_and_not_say_how_it_goes_twice(whole, model) -> None:
    judge = {"question": "?", "options": {"good": "g", "bad": "b"}}
    steps = [{"id": "n", "compute": {"x": "1"}}, {"id": "judge", "decision": judge}]
    decided = {"step": "judge", "choice": "bad", "rationale": "r", "evidence": ["e"], "confidence": 0.5}
    model.answers = [
        turn(call="report_status", arguments={"message": "on it"}),
        turn(call="report_step_result", arguments={"step": "n", "outputs": None}),
        turn(call="log_decision", arguments=decided),
        turn(call="report_result", arguments={"summary": "done"}),
    ]
    assert whole(steps, AGENT).outputs["steps"]["judge"]["choice"] == "bad"
    offered = [set(_calls(body)) - {"vendors__history"} for body, _ in model.asked]
    assert offered == [
        {"report_step_result", "report_status"}, {"report_step_result"}, {"log_decision", "report_status"},
        {"report_result", "report_status"},
    ]  # fmt: skip


def _calls(body: dict[str, Any]) -> list[str]:
    turns = body["response_format"]["json_schema"]["schema"]["properties"]["turn"]["anyOf"]
    return [one["properties"]["call"]["const"] for one in turns if "call" in one["properties"]]


def test_an_answer_with_a_schema_comes_through_its_function(ask, model) -> None:
    outputs = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
    model.answers = [HISTORY, turn(call="set_model_response", arguments={"response": {"n": 3}})]
    assert ask({**STEP, "outputs": outputs}).outputs == {"n": 3}
    fits = jsonschema.Draft202012Validator(model.asked[0][0]["response_format"]["json_schema"]["schema"]).is_valid
    assert fits({"turn": {"call": "set_model_response", "arguments": {"response": {"n": 3}}}})
    assert not fits({"turn": {"call": "set_model_response", "arguments": {"response": {"n": "three"}}}})


def test_a_decision_is_held_to_its_options(ask, model) -> None:
    answer = {"choice": "bad", "rationale": "r", "evidence": ["e"], "confidence": 0.5}
    model.answers = [(200, completion({"content": json.dumps(answer)}))]
    step = {"decision": {"question": "?", "options": {"good": "g", "bad": "b"}, "rule": "ask"}}
    assert ask(step).outputs["choice"] == "bad"
    schema = model.asked[0][0]["response_format"]["json_schema"]["schema"]
    assert not jsonschema.Draft202012Validator(schema).is_valid({**answer, "choice": "ugly"})


@pytest.mark.parametrize("text", ["Sure! I will call it.", '{"turn": {"nothing": 1}}', '{"turn": 3}', "[]"])
def test_a_server_that_ignores_the_schema_is_asked_again_then_ended(ask, model, text) -> None:
    model.answers = [(200, completion({"content": text})), turn(answer="well")]
    result = ask()
    assert (result.outputs, result.verdict.usage.repairs) == ({"text": "well"}, 1)
    model.asked.clear()
    model.answers = [(200, completion({"content": text}))]
    assert ask().failure == ("permanent", "model-malformed-call", 65)
    assert len(model.asked) == 3


def test_an_answer_that_was_cut_names_the_limit(ask, model) -> None:
    model.answers = [(200, completion({"content": '{"turn": {"answ'}, "length"))]
    assert ask().failure == ("permanent", "model-max-tokens", 65)


def test_an_invented_call_of_a_server_that_ignores_the_schema_is_refused(ask, model, calls) -> None:
    model.answers = [turn(call="made_up", arguments={}), turn(answer="well")]
    result = ask()
    assert result.outputs == {"text": "well"}
    assert calls() == []


def test_only_an_openai_compatible_server_can_be_asked_so(attempt, tmp_path, monkeypatch) -> None:
    (tmp_path / "models.yaml").write_text('{"models": {"*": {"use": "gemini-2.5-flash", "structured_turns": true}}}')
    monkeypatch.setenv("SOP_MODELS", str(tmp_path / "models.yaml"))
    assert attempt({"agent": {"instruction": "x"}}, agent=AGENT).failure == ("permanent", "models-file", 78)


TREE = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "title": "Name"},
        "size": {"type": "integer", "default": 5},
        "parts": {"type": "array", "items": {"$ref": "#/$defs/part"}},
        "properties": {"type": "object", "additionalProperties": {"type": "integer"}},
    },
    "required": ["name", "parts"],
    "$defs": {
        "part": {
            "type": "object",
            "properties": {"id": {"type": "string"}, "inner": {"$ref": "#/$defs/part"}},
            "required": ["id"],
        }
    },
}


def test_what_is_optional_becomes_null_and_goes_again() -> None:
    strict = as_strict(TREE)
    validator = jsonschema.Draft202012Validator(strict)
    value = {"name": "n", "size": None, "parts": [{"id": "a", "inner": None}], "properties": None}
    assert validator.is_valid(value)
    assert not validator.is_valid({"name": "n", "parts": []})
    assert "$ref" not in json.dumps(strict)
    left = without_nulls(value, TREE)
    assert left == {"name": "n", "parts": [{"id": "a"}]}
    jsonschema.Draft202012Validator(TREE).validate(left)


def test_a_null_that_means_something_stays() -> None:
    schema = {"type": "object", "properties": {"a": {"type": ["null", "string"]}}, "required": ["a"]}
    assert without_nulls({"a": None, "b": None}, schema) == {"a": None, "b": None}
