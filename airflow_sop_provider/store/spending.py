"""What the agents of an execution spent, over all its steps and attempts: the sum of what they last put down."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from sqlalchemy import and_, not_, select
from sqlalchemy.orm import Session

from airflow_sop_provider.store.execution_tables import CheckpointRow

__all__ = ["SPENT", "spent_by_agents", "total_spent"]

SPENT = ("input_tokens", "output_tokens", "model_calls", "tool_calls", "cost", "repairs", "seconds")
"""Names of what is counted; ``seconds`` is the time that agents worked."""


def spent_by_agents(session: Session, execution_id: int, *, but: tuple[str, int] | None = None) -> dict[str, float]:
    """Return the sum over an execution's steps.

    :param but: step and map index that are left out, for who counts them itself.
    """
    query = select(CheckpointRow.data["spent"]).where(CheckpointRow.execution_id == execution_id)
    if but is not None:
        query = query.where(not_(and_(CheckpointRow.step == but[0], CheckpointRow.map_index == but[1])))
    return total_spent(session.scalars(query))


def total_spent(spent: Iterable[Mapping[str, Any] | None]) -> dict[str, float]:
    """Return the sum of several accounts; what is missing in one, or no number, counts as nothing."""
    listed = [one for one in spent if isinstance(one, Mapping)]
    return {name: round(sum(_number(one.get(name)) for one in listed), 9) for name in SPENT}


def _number(value: Any) -> float:
    return value if isinstance(value, int | float) and not isinstance(value, bool) else 0
