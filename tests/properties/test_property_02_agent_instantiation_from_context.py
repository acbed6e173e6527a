"""Feature: execution-engine, Property 2: Agent instantiation from context."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_sop_provider.contract import StepPayload
from airflow_sop_provider.engine.payloads import sop_payload, step_payload
from airflow_sop_provider.runner.agents.build import build_agent
from airflow_sop_provider.runner.agents.config import agent_config
from airflow_sop_provider.runner.agents.model import make_model
from airflow_sop_provider.runner.agents.names import function_names
from airflow_sop_provider.runner.agents.site import ModelEntry
from airflow_sop_provider.runner.lines import Redactor
from tests.properties.agents import load
from tests.strategies import sop_texts

pytestmark = pytest.mark.slow

models = st.sampled_from(["gemini-2.5-flash", "gemini-2.0-pro", "openai:gpt-x", "scripted:package-brief"])


@given(sop_texts(kinds=("agent", "decision")), models, st.floats(0, 2), st.integers(1, 10**6))
def test_the_agent_is_exactly_the_one_of_the_context(text, model, temperature, max_tokens) -> None:
    """Feature: execution-engine, Property 2: Agent instantiation from context."""
    loaded = load(text)
    wanted = {"model": model, "temperature": temperature, "max_tokens": max_tokens}
    payloads = [step_payload(loaded, step) for step in loaded.sop.steps]
    payloads += [sop_payload(loaded)] if loaded.mode.mode == "agent_centric" else []
    for payload in payloads:
        given_to_runner = StepPayload.model_validate({**payload.model_dump(mode="json"), "agent": wanted})
        config = agent_config(given_to_runner)
        agent = build_agent(config, make_model(model, ModelEntry(), Redactor()), "{not a variable}", [])
        assert agent.canonical_model.model == model.removeprefix("openai:")
        assert agent.generate_content_config.temperature == temperature
        assert agent.generate_content_config.max_output_tokens == max_tokens
        assert agent.instruction(None) == "{not a variable}"
        assert agent.output_key, "without it ADK holds no answer to a schema"
        reach = {f"{name}.{tool}" for name, source in payload.data_sources.items() for tool in source["tools"]}
        named = set() if config.agent_type == "decision" else reach
        assert set(config.tools) == named
        assert {name: access.server for name, access in config.mcp_access.items()} == {
            name: source["server"] for name, source in payload.data_sources.items() if named
        }
        functions = function_names(config.tools)
        assert len(set(functions.values())) == len(set(config.tools))
        assert all(len(name) <= 64 for name in functions.values())
