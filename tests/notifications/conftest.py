"""Servers that are told of escalations."""

from __future__ import annotations

from tests.notifications.receiver import receiver

__all__ = ["receiver"]
