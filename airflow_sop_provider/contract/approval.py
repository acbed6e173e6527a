"""What passes of an approval between the step's runner, the engine and whoever waits for people's answer."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

__all__ = ["ApprovalQuestion", "Choice", "Settled"]

Choice = Literal["approved", "rejected"]


class ApprovalQuestion(BaseModel):
    """What people are asked: the outputs of a runner that carried out a step of kind ``approval``."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    title: str
    question: str | None = None
    guidance: str | None = None


class Settled(BaseModel):
    """Where an approval stands.

    :param state: ``waiting``: park the task; ``approved`` and ``rejected``: the step's outputs are there;
        ``expired``: nobody answered in time, and the step fails by its SOP; ``void``: what it was about has changed,
        carry the step out again.
    :param outputs: of the step, once it is decided.
    :param message: a sentence for people.
    :param failed: whether the step fails of it.
    :param wait_seconds: until it expires; None: it does not.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    state: Literal["waiting", "approved", "rejected", "expired", "void"]
    message: str
    outputs: dict[str, Any] | None = None
    failed: bool = False
    wait_seconds: float | None = None
