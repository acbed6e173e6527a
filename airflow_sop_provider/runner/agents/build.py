"""From an `AgentConfig` to the ADK agent that is exactly it (Property 2)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from google.adk.agents import LlmAgent
from google.adk.models import BaseLlm
from google.adk.tools.base_tool import BaseTool
from google.genai import types
from pydantic import BaseModel, Field, create_model

from airflow_sop_provider.runner.agents.config import AgentConfig

__all__ = ["ANSWER_KEY", "build_agent", "decision_schema"]

ANSWER_KEY = "answer"
"""Where ADK keeps the agent's answer; without a key it would not hold the answer to a schema."""


def build_agent(
    config: AgentConfig, model: BaseLlm, instruction: str, tools: Sequence[BaseTool], schema: Any = None
) -> LlmAgent:
    """Return the agent.

    :param instruction: handed over through a callable, as ADK reads braces in a text as variables.
    :param schema: of its answer: a JSON Schema or a pydantic model; None: any text.
    """
    return LlmAgent(
        name=f"sop_{config.agent_type}",
        model=model,
        instruction=lambda _context: instruction,
        tools=list(tools),
        generate_content_config=types.GenerateContentConfig(
            temperature=config.temperature, max_output_tokens=config.max_tokens
        ),
        output_schema=schema,
        output_key=ANSWER_KEY,
        disallow_transfer_to_parent=True,
        disallow_transfer_to_peers=True,
    )


def decision_schema(options: Mapping[str, Any]) -> type[BaseModel]:
    """Return the model of a decision between options: choice, rationale, evidence, confidence."""
    fields: dict[str, Any] = {
        "choice": (Literal[tuple(options)], ...),
        "rationale": (Annotated[str, Field(min_length=1)], ...),
        "evidence": (Annotated[list[str], Field(min_length=1)], ...),
        "confidence": (Annotated[float, Field(ge=0, le=1)], ...),
    }
    return create_model("Decision", **fields)
