"""Cluster policy of the engine, found by Airflow through the entry point ``airflow.policy``.

A run may ask for a priority of its own (reserved key ``priority`` of its conf), and what it is decides in which
pool its steps wait. Airflow's priority strategies never see a run or its conf, this hook does. Tasks of other DAGs
are left alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow import settings
from airflow.policies import hookimpl

from airflow_sop_provider.contract.payload import PAYLOAD_KEY
from airflow_sop_provider.engine.pools import REALTIME_POOL, pool_of
from airflow_sop_provider.engine.priorities import weight_of_conf

if TYPE_CHECKING:
    from airflow.models.dagrun import DagRun
    from airflow.models.taskinstance import TaskInstance

__all__ = ["task_instance_mutation_hook"]

# Airflow skips the hooks of entry points unless this is cleared; it clears it only for local settings files.
settings.task_instance_mutation_hook.is_noop = False  # type: ignore[attr-defined]  # an attribute of a function


@hookimpl
def task_instance_mutation_hook(task_instance: TaskInstance, dag_run: DagRun | None) -> None:
    """Give a step the priority that its execution's conf asks for, and the pool of its execution."""
    if PAYLOAD_KEY not in (task_instance.executor_config or {}):
        return
    # Airflow calls the hook without the run when it copies the task's values again; then the run is
    # looked for where it may be loaded already, as loading it here would need a session.
    run = dag_run or task_instance.__dict__.get("dag_run")
    if run is None:
        return
    weight = weight_of_conf(run.conf)
    if weight is not None:
        task_instance.priority_weight = weight
    if task_instance.pool == REALTIME_POOL:  # another pool was chosen by somebody
        task_instance.pool = pool_of(run.run_type, run.conf)
