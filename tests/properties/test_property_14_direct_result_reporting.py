"""Feature: execution-engine, Property 14: Direct result reporting."""

import pytest
from hypothesis import assume, given

from tests.properties.agents import KINDS, finished
from tests.strategies import sop_texts

pytestmark = pytest.mark.slow


@given(sop_texts(alone=True, kinds=KINDS, max_steps=4))
def test_each_result_and_the_end_come_from_the_agent_before_the_verdict(text) -> None:
    """Feature: execution-engine, Property 14: Direct result reporting."""
    run = finished(text)
    assume(run is not None)
    loaded, verdict, events = run
    results = [event for event in events if event["event"] == "agent.result"]
    assert [event["sop_step"] for event in results[:-1]] == list(verdict.outputs["steps"])
    assert set(verdict.outputs["steps"]) == {step.id for step in loaded.sop.steps}
    assert results[-1]["scope"] == "sop"
    assert events.index(results[-1]) < len(events) - 1
    assert verdict.outputs["summary"]
