"""One agent carries out a whole SOP: in order, by the SOP's own arguments, audited, to a reported result."""

from __future__ import annotations

STEPS = [
    {"id": "history", "tool": "vendors.history", "arguments": {"vendor": "{{ inputs.vendor }}"}},
    {"id": "score", "needs": ["history"], "compute": {"recent": "steps.history.changes"}},
    {
        "id": "judge",
        "needs": ["score"],
        "decision": {"question": "Suspicious?", "options": {"clear": "no", "suspicious": "yes"}},
    },
    {"id": "report", "needs": ["judge"], "agent": {"instruction": "Write.", "tools": []}},
]


def test_every_step_is_done_in_order_and_the_result_is_reported(whole, script, calls) -> None:
    agent = script(
        decisions={"judge": {"choice": "suspicious", "rationale": "three changes", "evidence": ["3"]}},
        answers={"report": "{{ steps.vendors__history.changes }} of {{ steps.score.recent }} changes"},
        summary="Suspicious.",
    )
    result = whole(STEPS, agent, inputs={"vendor": "V-1"})
    outputs = result.outputs
    assert list(outputs["steps"]) == ["history", "score", "judge", "report"]
    assert outputs["steps"]["score"] == {"recent": 3}
    judged = outputs["steps"]["judge"]
    assert (judged["choice"], judged["by"], judged["confidence"]) == ("suspicious", "agent", 1.0)
    assert outputs["steps"]["report"] == {"text": "3 of 3 changes"}  # it was told what was computed
    assert outputs["summary"] == "Suspicious."
    assert calls() == [["history", {"vendor": "V-1"}]]
    results = [event for event in result.events if event["event"] == "agent.result"]
    assert [(event["scope"], event["sop_step"]) for event in results] == [
        ("step", "history"), ("step", "score"), ("step", "judge"), ("step", "report"), ("sop", ""),
    ]  # fmt: skip
    assert result.event("decision")["rationale"] == "three changes"
    assert result.event("data.access")["ok"]
    usage = result.verdict.usage
    assert (usage.model_calls, usage.tool_calls, usage.input_tokens) == (5, 1, 500)
