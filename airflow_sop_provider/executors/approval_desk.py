"""Approvals of the executor's child: asked and settled in the metadata database, in one transaction each.

No attempt stays in the child while people think: its task waits in Airflow's state ``awaiting_input``, which takes no
slot of a pool and outlives every process, and comes back through the queue when somebody has answered or the time is
over.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from airflow_sop_provider.contract import AttemptKey, StepPayload
from airflow_sop_provider.contract.approval import Settled
from airflow_sop_provider.executors.metadata_db import MetadataDb
from airflow_sop_provider.runs import approvals

__all__ = ["ask", "settle"]


async def ask(database: MetadataDb, key: AttemptKey, payload: StepPayload, question: Mapping[str, Any]) -> Settled:
    """Ask people what the step's runner has prepared, and return where that stands."""
    return await database.transaction(lambda session: approvals.ask_people(session, key, payload, question))


async def settle(database: MetadataDb, key: AttemptKey, payload: StepPayload) -> Settled:
    """Judge what people have answered since the task was parked, and return where it stands."""
    return await database.transaction(lambda session: approvals.settle(session, key, payload))
