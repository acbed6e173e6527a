"""Workloads as the scheduler hands them to an executor."""

from __future__ import annotations

from uuid import uuid4

from airflow.executors.workloads import ExecuteTask
from airflow.executors.workloads.base import BundleInfo
from airflow.executors.workloads.task import TaskInstanceDTO


def workload(step: str, *, priority: int = 1, run: str = "run", payload: dict | None = None) -> ExecuteTask:
    """A queued task instance of an SOP's step."""
    return ExecuteTask(
        ti=TaskInstanceDTO(
            id=uuid4(),
            task_id=step,
            dag_id="sop",
            run_id=run,
            try_number=1,
            dag_version_id=uuid4(),
            pool_slots=1,
            priority_weight=priority,
            executor_config={"sop": payload if payload is not None else {"kind": "step"}},
        ),
        dag_rel_path="sop.py",
        bundle_info=BundleInfo(name="sops"),
        log_path=f"dag_id=sop/run_id={run}/task_id={step}/attempt=1.log",
        token="",
    )


class RecordingLink:
    """Stands for the child process: keeps what it is sent, says what the test lets it say."""

    def __init__(self) -> None:
        self.sent: list = []
        self.says: list = []
        self.closed = False
        self.gone: Exception | None = None

    def send(self, message: object) -> None:
        if self.gone:
            raise self.gone
        self.sent.append(message)

    def receive(self) -> list:
        if self.gone:
            raise self.gone
        said, self.says = self.says, []
        return said

    def close(self, timeout: float = 5.0) -> None:
        self.closed = True
