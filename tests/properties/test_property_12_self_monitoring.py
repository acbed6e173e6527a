"""Feature: execution-engine, Property 12: Self-monitoring."""

from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from airflow_sop_provider.runner.environment import RunnerEnvironment
from tests.properties.agents import KINDS, finished
from tests.runner.agents.conftest import script  # noqa: F401 - fixture
from tests.runner.conftest import make_assignment, program  # noqa: F401 - fixture
from tests.strategies import sop_texts

pytestmark = pytest.mark.slow


@given(st.floats(0.001, 10**9))
def test_whatever_is_set_a_heartbeat_comes_at_least_every_30_seconds(seconds) -> None:
    """Feature: execution-engine, Property 12: Self-monitoring."""
    environment = RunnerEnvironment.read({"SOP_STEP": "x", "SOP_HEARTBEAT_SECONDS": repr(seconds)})
    assert 0 < environment.heartbeat_seconds <= 30


@given(sop_texts(alone=True, kinds=KINDS, max_steps=4))
def test_every_significant_event_is_a_status_update(text) -> None:
    """Feature: execution-engine, Property 12: Self-monitoring."""
    run = finished(text)
    assume(run is not None)
    loaded, verdict, events = run
    assert all("time" in event for event in events)
    names = [event["event"] for event in events]
    assert names.count("agent.model_call") == verdict.usage.model_calls
    assert {event["sop_step"] for event in events if event["event"] == "agent.result"} >= {
        step.id for step in loaded.sop.steps
    }


def test_heartbeats_go_on_while_a_model_thinks(program: Any, script: Any) -> None:  # noqa: F811
    agent = script(turns=[{"text": "Hello.", "delay": 3}])
    work = make_assignment({"agent": {"instruction": "Say hello."}}, agent=agent)
    result = program.run(work, SOP_HEARTBEAT_SECONDS="0.2")
    assert result.outputs == {"text": "Hello."}
    asked = next(index for index, event in enumerate(result.events) if event["event"] == "action")
    answered = next(index for index, event in enumerate(result.events) if event["event"] == "agent.model_call")
    beats = [event for event in result.events[asked:answered] if event["event"] == "heartbeat"]
    assert len(beats) >= 5
