"""Creates the engine's pools when a component of Airflow starts: tasks of a pool that does not exist never start."""

from __future__ import annotations

import logging
from typing import Any

from airflow.listeners import hookimpl
from airflow.models.pool import Pool
from airflow.utils.session import create_session
from sqlalchemy import select
from sqlalchemy.exc import IntegrityError

from airflow_sop_provider.airflow_settings import SopSettings, read_settings
from airflow_sop_provider.engine.pools import BATCH_POOL, REALTIME_POOL

__all__ = ["create_pools", "on_starting"]

_LOG = logging.getLogger(__name__)


@hookimpl
def on_starting(component: Any) -> None:
    """Create the pools if a component starts that speaks to the metadata database."""
    from airflow.jobs.job import Job

    if isinstance(component, Job):  # a task's process has no database
        create_pools(read_settings())


def create_pools(settings: SopSettings) -> list[str]:
    """Create those of the engine's pools that do not exist; return their names.

    One that exists stays as it is: its slots are the operator's, who changes them in the UI.
    """
    wanted = {
        REALTIME_POOL: (settings.realtime_slots, "Steps of executions that somebody triggered for now"),
        BATCH_POOL: (settings.batch_slots, "Steps of scheduled executions, backfills and batches"),
    }
    created = []
    for name, (slots, description) in wanted.items():
        try:
            with create_session(scoped=False) as session:
                if session.scalar(select(Pool.id).where(Pool.pool == name)) is not None:
                    continue
                session.add(Pool(pool=name, slots=slots, description=description, include_deferred=True))
        except IntegrityError:
            continue  # another component that starts now was first
        created.append(name)
        _LOG.info("Created pool %s with %d slots of a quarter of a core", name, slots)
    return created
