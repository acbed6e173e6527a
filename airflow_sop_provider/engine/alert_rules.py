"""When an execution takes too long: pure numbers, so that settings, tables and tests speak of the same rule."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

__all__ = ["OverrunRule"]


@dataclass(frozen=True, kw_only=True)
class OverrunRule:
    """When an execution takes too long; a site's own is in ``[sop] alert_*``.

    :param factor: so many times the expected duration is too long.
    :param minimum: so many completed executions of a control type tell how long one takes.
    :param look_back: one that ended no longer ago than this is still looked at.
    """

    factor: float = 2.0
    minimum: int = 5
    look_back: timedelta = timedelta(days=7)
