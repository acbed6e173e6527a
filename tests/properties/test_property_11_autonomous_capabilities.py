"""Feature: execution-engine, Property 11: Autonomous capabilities."""

import json

import pytest
from hypothesis import assume, given

from airflow_sop_provider.engine.payloads import sop_payload
from airflow_sop_provider.runner.agents.config import agent_config
from airflow_sop_provider.runner.agents.names import OWN_FUNCTIONS, function_names
from airflow_sop_provider.runner.agents.prompts import sop_instruction
from tests.properties.agents import KINDS, finished, load
from tests.strategies import sop_texts

pytestmark = pytest.mark.slow


@given(sop_texts(alone=True))
def test_the_agent_is_told_the_sop_and_its_functions(text) -> None:
    """Feature: execution-engine, Property 11: Autonomous capabilities (and 10: every step, decision and guidance)."""
    loaded = load(text)
    payload = sop_payload(loaded)
    config = agent_config(payload, "gemini-2.5-flash")
    told = sop_instruction(payload.step, config)
    assert json.loads(told.split("# The procedure\n")[1]) == payload.step
    assert (loaded.sop.guidance or "") in told
    assert all(f'"{name}"' in told for name in function_names(config.tools).values())
    assert all(name in told for name in OWN_FUNCTIONS if name != "report_step_result")


@given(sop_texts(alone=True, kinds=KINDS, max_steps=4))
def test_the_agent_gets_its_data_from_the_fleet_and_does_as_the_sop_says(text) -> None:
    """Feature: execution-engine, Property 11: Autonomous capabilities."""
    run = finished(text)
    assume(run is not None)
    loaded, _, events = run
    accesses = [event for event in events if event["event"] == "data.access"]
    wanted = [(step.id, step.tool.partition(".")[2]) for step in loaded.sop.steps if step.tool is not None]
    assert sorted((event["sop_step"], event["tool"]) for event in accesses) == sorted(wanted)
    assert next(event for event in events if event["event"] == "agent.conformance")["conforms"]
