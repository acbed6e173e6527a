"""Each kind of step, what it yields and how it refuses."""

from __future__ import annotations

import json

import pytest

ASKED = {"question": "Fine?", "options": {"yes": "it is", "no": "it is not"}}


def test_compute_yields_every_expression(attempt):
    result = attempt({"compute": {"a": "inputs.n + 1", "b": "steps.s.items | map('upper') | list"}},
                     inputs={"n": 2}, steps={"s": {"items": ["x"]}})  # fmt: skip
    assert result.outputs == {"a": 3, "b": ["X"]}


def test_compute_does_not_see_earlier_results(attempt):
    assert attempt({"compute": {"a": "1", "b": "a"}}).failure == ("permanent", "expression", 65)


def test_execution_is_readable(attempt):
    assert attempt({"compute": {"id": "execution.id"}}, execution={"id": "demo/1"}).outputs == {"id": "demo/1"}


def test_skipped_prerequisite_reads_as_undefined(attempt):
    step = {"compute": {"v": "steps.gone.value | default('none')"}}
    assert attempt(step, reads=("gone",)).outputs == {"v": "none"}


def test_item_exists_only_in_a_for_each(attempt):
    assert attempt({"compute": {"v": "item"}}, item="a", map_index=0).outputs == {"v": "a"}
    assert attempt({"compute": {"v": "item"}}, item=None, map_index=0).outputs == {"v": None}
    assert attempt({"compute": {"v": "item"}}).failure[1] == "expression"


def test_expression_failure_names_the_place(attempt):
    error = attempt({"compute": {"a": "inputs.nope.deeper"}}).verdict.error
    assert error.code == "expression"
    assert "`compute.a`" in error.message
    assert "`inputs.nope.deeper`" in error.message


def test_decision_by_rule(attempt):
    result = attempt({"decision": {**ASKED, "rule": "'yes' if inputs.n > 1 else ask"}}, inputs={"n": 2})
    assert result.outputs["choice"] == "yes"
    assert result.outputs["by"] == "rule"
    assert result.outputs["options"] == ["yes", "no"]
    assert "it is" in result.outputs["rationale"]
    assert result.event("decision")["choice"] == "yes"


@pytest.mark.parametrize("decision", [{**ASKED, "rule": "ask"}, ASKED])
def test_decision_that_needs_an_agent(attempt, decision):
    assert attempt({"decision": decision}).failure == ("permanent", "no-model", 78)


@pytest.mark.parametrize("rule", ["'maybe'", "1", "none", "['yes']"])
def test_decision_that_is_no_option(attempt, rule):
    assert attempt({"decision": {**ASKED, "rule": rule}}).failure == ("permanent", "decision-not-an-option", 65)


@pytest.mark.parametrize(
    ("step", "code"),
    [
        ({"agent": {"instruction": "x"}}, "no-model"),
        ({"unheard_of": {}}, "no-kind"),
    ],
)
def test_kinds_that_this_runner_does_not_carry_out(attempt, step, code):
    assert attempt(step).failure == ("permanent", code, 78)


def test_approval_prepares_the_question_and_approves_nothing(attempt):
    asked = {"by": ["lead"], "question": "May {{ inputs.n }} go?", "quorum": 2}
    step = {
        "title": "Sign",
        "guidance": "Look at {{ inputs.n }}.",
        "approval": asked,
        "outputs": {"required": ["choice"]},
    }
    result = attempt(step, inputs={"n": 7})
    assert result.outputs == {"title": "Sign", "question": "May 7 go?", "guidance": "Look at 7."}
    assert result.event("action")["by"] == ["lead"]


def test_approval_without_words_is_named_after_its_step(attempt):
    assert attempt({"id": "sign", "approval": {"by": ["lead"]}}).outputs == {"title": "Approve sign"}


def test_approval_whose_question_cannot_be_evaluated(attempt):
    step = {"approval": {"by": ["lead"], "question": "{{ inputs.n / 0 }}"}}
    assert attempt(step, inputs={"n": 1}).failure == ("permanent", "expression", 65)


def test_agent_centric_needs_an_agent(attempt):
    assert attempt({"sop": "demo"}, kind="agent_centric").failure == ("permanent", "no-model", 78)


def test_rollback_runs_like_a_step(attempt):
    assert attempt({"after": "y", "compute": {"a": "1"}}, kind="rollback").outputs == {"a": 1}


@pytest.mark.parametrize("when", ["inputs.n > 5", False, "[]"])
def test_when_false_skips_before_anything_happens(attempt, when):
    result = attempt({"when": when, "agent": {"instruction": "x"}}, inputs={"n": 1})
    assert (result.code, result.verdict.status) == (0, "skipped")
    assert "`when` is false" in result.verdict.reason
    assert [event["event"] for event in result.events] == ["attempt.end"]


def test_when_true_goes_on(attempt):
    assert attempt({"when": "inputs.n == 1", "compute": {"a": "1"}}, inputs={"n": 1}).outputs == {"a": 1}


@pytest.mark.parametrize(
    ("expression", "items"), [("inputs.l", [1, 2]), ("inputs.l | map('string')", ["1", "2"]), ("[]", [])]
)
def test_items(attempt, expression, items):
    assert attempt({"for_each": expression}, kind="items", inputs={"l": [1, 2]}).outputs == items


@pytest.mark.parametrize("expression", ["'text'", "1", "{'a': 1}", "none"])
def test_items_must_be_a_list(attempt, expression):
    assert attempt({"for_each": expression}, kind="items").failure == ("permanent", "for-each-not-a-list", 65)


def test_items_are_as_many_as_airflow_maps(attempt):
    run = {"kind": "items", "step": {"for_each": "inputs.l"}}
    assert len(attempt(run["step"], kind="items", inputs={"l": [0] * 1024}).outputs) == 1024
    assert attempt(run["step"], kind="items", inputs={"l": [0] * 1025}).failure == (
        "permanent",
        "for-each-too-long",
        65,
    )


def test_outputs_schema_names_the_path(attempt):
    schema = {"type": "object", "properties": {"a": {"type": "array", "items": {"type": "integer"}}}}
    assert attempt({"compute": {"a": "[1, 2]"}, "outputs": schema}).outputs == {"a": [1, 2]}
    result = attempt({"compute": {"a": "[1, 'x']"}, "outputs": schema})
    assert result.failure == ("permanent", "outputs-schema", 65)
    assert result.verdict.error.details == {"path": "$.a[1]"}


@pytest.mark.parametrize("schema", [{"type": "nonsense"}, {"$ref": "http://127.0.0.1:9/x.json"}])
def test_outputs_schema_that_is_none(attempt, schema):
    assert attempt({"compute": {"a": "1"}, "outputs": schema}).failure == ("permanent", "outputs-schema-invalid", 78)


def test_outputs_too_large(attempt):
    big = ["x" * 1024] * 256
    assert attempt({"compute": {"a": "inputs.b"}}, inputs={"b": big}).failure == ("permanent", "output-too-large", 65)
    assert attempt({"compute": {"a": "inputs.b[:250]"}}, inputs={"b": big}).code == 0


def test_termination_message_fits_and_keeps_the_status(attempt):
    result = attempt({"compute": {"a": "inputs.b"}}, inputs={"b": ["ü" * 100] * 100})
    message = (result.folder / "termination").read_bytes()
    assert len(message) <= 4096
    assert json.loads(message)["status"] == "succeeded"
    assert json.loads(message)["outputs_dropped"] is True
    assert len(result.outputs["a"]) == 100


def test_crash_of_the_runner_is_a_crash_with_its_traceback(attempt):
    result = attempt({"compute": None, "decision": {"rule": "'a'"}})  # malformed beyond what a validated SOP can be
    assert result.failure == ("crash", "crash", 1)
    assert "KeyError" in result.verdict.error.details["traceback"]


def test_running_out_of_memory_is_a_resource_failure(attempt, monkeypatch):
    def exhausted(*_):
        raise MemoryError

    monkeypatch.setattr("airflow_sop_provider.sop.expressions.evaluate", exhausted)
    assert attempt({"compute": {"a": "1"}}).failure == ("resource", "out-of-memory", 1)


def test_expression_that_runs_out_of_memory_is_a_resource_failure(attempt, monkeypatch):
    def exhausted(*_, **__):
        raise MemoryError

    monkeypatch.setattr("airflow_sop_provider.sop.expressions._value", exhausted)
    assert attempt({"compute": {"a": "1"}}).failure == ("resource", "out-of-memory", 1)
