"""What may go wrong with the offline model, as one line for a person."""

from __future__ import annotations

__all__ = ["ModelProblem"]


class ModelProblem(Exception):
    """The model cannot be had; the message is one line and names the remedy."""
