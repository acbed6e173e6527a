"""What one runner is told to do: the payload of its step plus the values of this execution.

The runner needs nothing else: no database, no Airflow, no connection (design, section 7).
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from airflow_sop_provider.contract.attempt import AttemptKey
from airflow_sop_provider.contract.payload import StepPayload

__all__ = ["RESERVED_CONF_KEYS", "Assignment"]

RESERVED_CONF_KEYS = frozenset({"priority", "batch"})
"""Keys of a run's conf that are not inputs (design, section 6)."""


class Assignment(BaseModel):
    """One attempt of one step, with everything its runner needs.

    :param inputs: the execution's inputs, defaults applied, reserved keys removed.
    :param steps: outputs of the steps named in ``payload.reads``; a step that was skipped is absent
        and reads as undefined in expressions; a mapped step is a list in map order.
    :param item: the item of a ``for_each``.
    :param execution: values readable as ``execution`` in expressions: ``id`` (``sop/run_id``), ``sop``, ``run_id``,
        ``attempt``, ``logical_date``, ``run_after``, ``triggered_by``, ``batch``, ``priority``.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    key: AttemptKey
    payload: StepPayload
    inputs: dict[str, Any] = Field(default_factory=dict)
    steps: dict[str, Any] = Field(default_factory=dict)
    item: Any = None
    execution: dict[str, Any] = Field(default_factory=dict)
    deadline: datetime | None = None
