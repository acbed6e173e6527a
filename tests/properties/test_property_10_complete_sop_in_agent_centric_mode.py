"""Feature: execution-engine, Property 10: Complete SOP in agent-centric mode."""

from pathlib import Path

from hypothesis import given

from airflow_sop_provider.contract import StepPayload
from airflow_sop_provider.engine.payloads import sop_payload
from airflow_sop_provider.sop import Sop, check_text, choose_mode
from tests.strategies import sop_texts


@given(sop_texts(alone=True))
def test_the_agents_payload_holds_the_whole_sop(text) -> None:
    """Feature: execution-engine, Property 10: Complete SOP in agent-centric mode."""
    loaded = check_text(text, Path("generated.yaml")).loaded
    assert loaded is not None
    assert not choose_mode(loaded.sop).incompatibilities
    payload = StepPayload.model_validate_json(sop_payload(loaded).model_dump_json())
    given_to_agent = Sop.model_validate(payload.step)
    assert given_to_agent == loaded.sop
    assert [step.id for step in given_to_agent.steps] == [step.id for step in loaded.sop.steps]
    decisions = [step.decision for step in given_to_agent.steps if step.decision is not None]
    assert decisions == [step.decision for step in loaded.sop.steps if step.decision is not None]
    assert payload.guidance == loaded.sop.guidance
    assert [step.guidance for step in given_to_agent.steps] == [step.guidance for step in loaded.sop.steps]
