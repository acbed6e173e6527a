"""What one agent is: exactly the model, limits and tools that its SOP gives it, and nothing of its neighbours'."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from airflow_sop_provider.contract.payload import StepPayload
from airflow_sop_provider.runner.failures import bad_configuration
from airflow_sop_provider.sop.agent_models import Budget, OnDeviation

__all__ = ["AgentConfig", "AgentType", "McpAccess", "agent_config"]

AgentType = Literal["step", "decision", "agent_centric"]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class McpAccess(_Model):
    """One data source an agent may use.

    :param server: name of the MCP server in the fleet.
    :param tools: tools of it that the agent is offered.
    """

    server: str
    tools: tuple[str, ...]


class AgentConfig(_Model):
    """One agent.

    :param agent_type: what it does: a step, a decision, or the whole SOP.
    :param model: name of the model, as the SOP says.
    :param max_tokens: most tokens of one answer.
    :param tools: ``<data source>.<tool>`` of everything it is offered, in the SOP's order.
    :param mcp_access: data source -> server and tools; the same tools as in ``tools``.
    """

    agent_type: AgentType
    model: str
    temperature: float
    max_tokens: int
    tools: tuple[str, ...] = ()
    mcp_access: dict[str, McpAccess] = Field(default_factory=dict)
    budget: Budget = Budget()
    on_deviation: OnDeviation = "fail"


def agent_config(payload: StepPayload, default_model: str | None = None) -> AgentConfig:
    """Return the agent that a payload asks for.

    :param default_model: the site's, for an SOP that names none.
    :raises StepFailureError: exit 78 (``no-model``) if neither names one.
    """
    declared: dict[str, Any] = payload.agent or {}
    model = declared.get("model") or default_model
    if model is None:
        raise bad_configuration(
            "no-model", "The SOP names no model (`agent: {model: ...}`) and the site has no default. Add one of them."
        )
    kind = _type_of(payload)
    access = {} if kind == "decision" else {name: _access(source) for name, source in payload.data_sources.items()}
    return AgentConfig(
        agent_type=kind,
        model=model,
        temperature=declared.get("temperature", 0.0),
        max_tokens=declared.get("max_tokens", 4096),
        tools=tuple(f"{name}.{tool}" for name, source in access.items() for tool in source.tools),
        mcp_access=access,
        budget=Budget.model_validate(declared.get("budget") or {}),
        on_deviation=declared.get("on_deviation", "fail"),
    )


def _type_of(payload: StepPayload) -> AgentType:
    if payload.kind == "agent_centric":
        return "agent_centric"
    return "decision" if payload.step.get("decision") is not None else "step"


def _access(source: dict[str, Any]) -> McpAccess:
    return McpAccess(server=source["server"], tools=tuple(source["tools"]))
