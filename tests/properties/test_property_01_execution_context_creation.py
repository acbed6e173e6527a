"""Feature: execution-engine, Property 1: Execution context creation."""

from pathlib import Path

from hypothesis import given

from airflow_sop_provider.contract import StepPayload
from airflow_sop_provider.engine.payloads import sop_payload, step_payload
from airflow_sop_provider.sop import LoadedSop, check_text
from tests.strategies import sop_texts

_ASKS = {"agent", "decision"}


def _loaded(text: str) -> LoadedSop:
    loaded = check_text(text, Path("generated.yaml")).loaded
    assert loaded is not None
    return loaded


def _payloads(loaded: LoadedSop) -> list[StepPayload]:
    if loaded.mode.mode == "agent_centric":
        return [sop_payload(loaded)]
    return [step_payload(loaded, step) for step in (*loaded.sop.steps, *loaded.sop.rollback)]


@given(sop_texts())
def test_any_valid_sop_gives_a_complete_context(text) -> None:
    """Feature: execution-engine, Property 1: Execution context creation."""
    loaded = _loaded(text)
    payloads = [StepPayload.model_validate_json(payload.model_dump_json()) for payload in _payloads(loaded)]
    for payload in payloads:
        assert (payload.sop, payload.version, payload.digest) == (loaded.sop.sop, loaded.sop.version, loaded.sha256)
        assert payload.inputs == loaded.sop.inputs
    _every_named_tool_is_in_reach(loaded, payloads)
    _the_agent_is_the_one_asked_for(loaded, payloads)


def _every_named_tool_is_in_reach(loaded: LoadedSop, payloads: list[StepPayload]) -> None:
    reach = {
        (name, tool): source["server"]
        for payload in payloads
        for name, source in payload.data_sources.items()
        for tool in source["tools"]
    }
    for step in (*loaded.sop.steps, *loaded.sop.rollback):
        named = [step.tool] if step.tool else []
        agent = getattr(step, "agent", None)
        named += list(agent.tools) if agent is not None else []
        for name in named:
            source, _, tool = name.partition(".")
            assert reach[source, tool] == loaded.sop.data_sources[source].server


def _the_agent_is_the_one_asked_for(loaded: LoadedSop, payloads: list[StepPayload]) -> None:
    if loaded.sop.agent is None:
        assert all(payload.agent is None for payload in payloads)
        return
    wanted = loaded.sop.agent.model_dump(mode="json")
    kinds = {step.id: step.kind for step in (*loaded.sop.steps, *loaded.sop.rollback)}
    for payload in payloads:
        asks = payload.kind == "agent_centric" or kinds[payload.step_id] in _ASKS
        assert payload.agent == (wanted if asks else None)
