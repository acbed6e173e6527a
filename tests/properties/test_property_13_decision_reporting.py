"""Feature: execution-engine, Property 13: Decision reporting."""

import pytest
from hypothesis import assume, given

from tests.properties.agents import finished
from tests.strategies import sop_texts

pytestmark = pytest.mark.slow


@given(sop_texts(alone=True, kinds=("decision", "compute", "decision"), max_steps=4))
def test_every_decision_is_logged_with_its_reasons(text) -> None:
    """Feature: execution-engine, Property 13: Decision reporting."""
    run = finished(text)
    assume(run is not None)
    loaded, verdict, events = run
    decided = {event["sop_step"]: event for event in events if event["event"] == "decision"}
    assert set(decided) == {step.id for step in loaded.sop.steps if step.decision is not None}
    for step in loaded.sop.steps:
        if step.decision is not None:
            event = decided[step.id]
            assert event["choice"] in step.decision.options
            assert event["rationale"]
            assert event["evidence"]
            assert 0 <= event["confidence"] <= 1
            assert event["choice"] == verdict.outputs["steps"][step.id]["choice"]
