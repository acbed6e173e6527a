"""The value of the name `ask`, with which a decision's rule hands the decision to the agent."""

from __future__ import annotations

__all__ = ["ASK", "Ask"]


class Ask:
    """Type of `ASK`, its only value."""

    _only: Ask | None = None

    def __new__(cls) -> Ask:
        """Return the only value, so that ``is`` holds after unpickling too."""
        if cls._only is None:
            cls._only = super().__new__(cls)
        return cls._only

    def __repr__(self) -> str:
        return "ask"


ASK = Ask()
"""What a rule gives to hand the decision to the agent; compare with ``is``."""
