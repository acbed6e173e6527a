"""The least an executor can do: what is queued has succeeded at once, with one statement for all of it.

A yardstick of `throughput`: what an execution of one step costs Airflow when a scheduler queues it and some executor
ends it, without a process, a call of the API server or a log. Below that no executor can get.
"""

from __future__ import annotations

from collections.abc import Sequence

from airflow.executors import workloads
from airflow.executors.base_executor import BaseExecutor
from airflow.models.taskinstance import TaskInstance
from airflow.sdk import timezone
from airflow.utils.session import create_session
from airflow.utils.state import TaskInstanceState
from sqlalchemy import update

__all__ = ["ALIAS", "CLASSPATH", "NoopExecutor"]

ALIAS = "noop"
"""The name by which tasks choose it."""

CLASSPATH = "benchmarks.noop_executor.NoopExecutor"


class NoopExecutor(BaseExecutor):
    """Marks every task as succeeded when it is handed over; for measurements only."""

    is_local = True

    def _process_workloads(self, workload_items: Sequence[workloads.All]) -> None:
        tasks = [workload for workload in workload_items if isinstance(workload, workloads.ExecuteTask)]
        now = timezone.utcnow()
        with create_session() as session:
            session.execute(
                update(TaskInstance)
                .where(TaskInstance.id.in_([workload.ti.id for workload in tasks]))
                .values(state=TaskInstanceState.SUCCESS, start_date=now, end_date=now, duration=0.0)
                .execution_options(synchronize_session=False)
            )
        for workload in tasks:
            del self.queued_tasks[workload.ti.key]
            self.success(workload.ti.key)
