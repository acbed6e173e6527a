"""Executions in this process: they mean what they mean on an Airflow, because the same rules decide."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_sop_provider.evals.execution import InProcess
from airflow_sop_provider.evals.models import Case, RecordedResult
from airflow_sop_provider.sop import check_text
from tests.evals.conftest import SOP


def recorded(*results: dict[str, Any]) -> tuple[RecordedResult, ...]:
    return tuple(RecordedResult.model_validate(one) for one in results)


def execute(text: str, *results: dict[str, Any], case: dict[str, Any] | None = None, **options: Any) -> Any:
    executor = InProcess(check_text(text).unwrap(), recorded(*results), **options)
    return executor.execute(Case.model_validate({"id": "one", **(case or {})}))


def sop(steps: str, rest: str = "") -> str:
    return f"sop: s\nversion: 1.0.0\ntitle: S\nmode: system_design\n{rest}steps:\n{steps}"


def test_a_case_runs_through_decision_condition_and_items() -> None:
    orders = {"tool": "shop.orders", "result": {"count": 12, "ids": [1, 2]}}
    trace = execute(SOP, orders, {"tool": "shop.refund", "result": {"done": True}})
    assert trace.status == "COMPLETED"
    assert trace.outputs["report"] == {"verdict": "many", "share": 4.0, "refunded": 2}
    assert trace.outputs["refunds"] == [{"done": True}, {"done": True}]
    assert trace.choice("judge") == "many"
    assert trace.tools == ("shop.orders", "shop.refund", "shop.refund")


def test_a_false_condition_skips_and_the_rest_goes_on() -> None:
    trace = execute(SOP, {"tool": "shop.orders", "result": {"count": 2, "ids": [1]}})
    assert trace.states["refunds"] == "skipped"
    assert trace.outputs["report"]["refunded"] == 0


def test_a_map_over_nothing_is_skipped() -> None:
    trace = execute(SOP, {"tool": "shop.orders", "result": {"count": 12, "ids": []}})
    assert (trace.states["refunds"], trace.status) == ("skipped", "COMPLETED")


def test_one_item_that_fails_fails_the_step_and_halts_its_dependents() -> None:
    trace = execute(
        SOP,
        {"tool": "shop.orders", "result": {"count": 12, "ids": [1, 2]}},
        {"tool": "shop.refund", "arguments": {"id": 1}, "error": {"message": "no such order"}},
        {"tool": "shop.refund", "result": {"done": True}},
    )
    assert (trace.status, trace.states["refunds"], trace.states["report"]) == ("FAILED", "failed", "halted")
    assert "no such order" in trace.failures["refunds"]
    assert trace.tools.count("shop.refund") == 2


def test_items_that_cannot_be_listed_halt_the_step_and_say_why() -> None:
    trace = execute(SOP, {"tool": "shop.orders", "result": {"count": 12}})
    assert trace.states["refunds"] == "halted"
    assert "for_each" in trace.failures["refunds"]


def test_transient_failures_are_retried_with_the_delays_of_the_engine() -> None:
    waited: list[float] = []
    busy = {"tool": "shop.orders", "error": {"type": "transient", "message": "busy"}, "times": 3}
    good = {"tool": "shop.orders", "result": {"count": 1, "ids": []}}
    trace = execute(SOP, busy, good, sleep=waited.append)
    assert (trace.status, waited) == ("COMPLETED", [1.0, 2.0, 4.0])
    waited.clear()
    trace = execute(SOP, {**busy, "times": 4}, good, sleep=waited.append)
    assert (trace.status, waited) == ("FAILED", [1.0, 2.0, 4.0])


def test_permanent_failures_are_not_retried() -> None:
    trace = execute(SOP, {"tool": "shop.orders", "error": {"message": "gone"}})
    assert (trace.status, trace.tools) == ("FAILED", ("shop.orders",))


def test_inputs_that_do_not_fit_fail_the_execution() -> None:
    trace = execute(SOP, case={"inputs": {"limit": "ten"}})
    assert trace.status == "FAILED"
    assert "`limit`" in trace.failures["orders"]
    assert trace.tools == ()


def test_a_call_that_nothing_is_recorded_for_says_so() -> None:
    assert "not-recorded" in execute(SOP).failures["orders"]


def test_a_cases_own_answers_come_before_the_suites() -> None:
    suite = {"tool": "shop.orders", "result": {"count": 1, "ids": []}}
    own = {"tool": "shop.orders", "result": {"count": 99, "ids": []}}
    assert execute(SOP, suite, case={"recorded": [own]}).choice("judge") == "many"


ROLLBACK = sop(
    "  - {id: a, compute: {x: '1'}}\n"
    "  - {id: b, needs: [a], compute: {x: 'steps.a.x'}}\n"
    "  - {id: c, needs: [b], tool: shop.orders}\n"
    "rollback:\n"
    "  - {id: undo_a, after: a, tool: shop.undo, arguments: {what: a}}\n"
    "  - {id: undo_b, after: b, tool: shop.undo, arguments: {what: b}}\n"
    "  - {id: undo_c, after: c, tool: shop.undo, arguments: {what: c}}\n",
    "data_sources: {shop: {server: shop, tools: [orders]}}\n",
)


def test_rollback_undoes_what_succeeded_later_steps_first() -> None:
    undone: list[str] = []

    def call(_server: str, tool: str, arguments: dict[str, Any], _limit: float | None) -> Any:
        if tool == "orders":
            raise ValueError("the server's bug")
        undone.append(arguments["what"])
        return {}

    trace = execute(ROLLBACK.replace("id: c, ", "id: c, retry: {max_retries: 0}, "), call=call)
    assert (trace.status, undone) == ("FAILED", ["b", "a"])


def test_nothing_is_undone_when_all_went_well() -> None:
    trace = execute(ROLLBACK, {"tool": "shop.orders", "result": {}})
    assert (trace.status, trace.tools) == ("COMPLETED", ("shop.orders",))


APPROVAL = sop(
    "  - {id: a, compute: {x: 'inputs.x'}}\n"
    "  - {id: sign, needs: [a], when: 'steps.a.x > 1', approval: {by: [lead]}}\n"
    "  - {id: z, needs: [a, sign], compute: {signed: 'steps.sign is defined'}}\n",
    "inputs: {x: {type: integer}}\n",
)


@pytest.mark.parametrize(
    ("x", "answer", "status", "state"),
    [
        (2, "approved", "COMPLETED", "succeeded"),
        (2, "rejected", "FAILED", "failed"),
        (1, "rejected", "COMPLETED", "skipped"),
        (1, "approved", "COMPLETED", "skipped"),
    ],
)
def test_people_answer_as_the_case_says_where_they_are_asked(x: int, answer: str, status: str, state: str) -> None:
    trace = execute(APPROVAL, case={"inputs": {"x": x}, "approvals": {"sign": answer}})
    assert (trace.status, trace.states["sign"]) == (status, state)


def test_independent_steps_go_on_after_a_failure() -> None:
    trace = execute(sop("  - {id: a, compute: {x: '1 / 0'}}\n  - {id: b, compute: {x: '1'}}\n"))
    assert (trace.status, trace.outputs) == ("PARTIALLY_COMPLETED", {"b": {"x": 1}})


def test_commands_are_run_for_real(tmp_path: Any) -> None:
    trace = execute(sop(f"  - {{id: a, command: {{command: [touch, {tmp_path}/made]}}}}\n"))
    assert (trace.status, (tmp_path / "made").exists()) == ("COMPLETED", True)


AGENT = "sop: s\nversion: 1.0.0\ntitle: S\nagent: {model: 'scripted:%s'}\nsteps:\n"
ALONE = AGENT + "  - {id: a, agent: {instruction: Think.}}\n  - {id: b, agent: {instruction: Say.}}\n"


def test_an_agent_carries_out_a_whole_sop_and_its_steps_have_their_outputs(tmp_path: Any) -> None:
    (tmp_path / "script.yaml").write_text("answers: {a: thought, b: said}\n")
    trace = execute(ALONE % (tmp_path / "script.yaml"))
    assert (trace.status, trace.outputs) == ("COMPLETED", {"a": {"text": "thought"}, "b": {"text": "said"}})
    assert trace.usage["agent"].model_calls == 3


def test_the_steps_an_agent_did_before_it_failed_are_told(tmp_path: Any) -> None:
    turns = "{call: report_step_result, arguments: {step: a, outputs: x}}, {call: made_up}, {call: made_up}"
    (tmp_path / "script.yaml").write_text(f"turns: [{turns}]\nthen: repeat\n")
    trace = execute(ALONE % (tmp_path / "script.yaml"))
    assert (trace.status, trace.states) == ("FAILED", {"a": "succeeded", "b": "failed"})
    assert "agent-loop" in trace.failures["b"]
