"""Which model an SOP's agents use, and what they may spend.

Apart from `sop.models` because these few fields mean something to three rooms: the language checks them, the
DAG carries them, and the runner makes an agent of exactly them.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from airflow_sop_provider.sop.fields import Duration, Model, Text

__all__ = ["AgentConfig", "Budget", "OnDeviation"]

OnDeviation = Literal["fail", "escalate"]
"""What follows when an agent departed from the SOP: the step fails, or it goes on and somebody is told."""


class Budget(Model):
    """What the agents of one execution may spend, over all attempts; what is left out is not limited."""

    tokens: int | None = Field(None, ge=1, description="Tokens, of prompts and answers together.")
    model_calls: int | None = Field(None, ge=1, description="Calls of the model.")
    tool_calls: int | None = Field(None, ge=1, description="Calls of data sources.")
    cost: float | None = Field(None, gt=0, description="Cost, in the currency of the site's prices.")
    time: Duration | None = Field(None, description="Time that agents work, for example 10m.")


class AgentConfig(Model):
    """The model that agents and decisions of this SOP use."""

    model: Text = Field(description="Name of the model, for example gemini-2.5-flash.")
    temperature: float = Field(0.0, ge=0, le=2, description="Sampling temperature, 0 to 2.")
    max_tokens: int = Field(4096, ge=1, le=1_000_000, description="Most tokens of one answer.")
    budget: Budget | None = Field(None, description="What the agents of one execution may spend.")
    on_deviation: OnDeviation = Field(
        "fail", description="When an agent departed from the SOP: fail, or escalate and go on."
    )
