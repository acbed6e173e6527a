"""Many who ask for the same at once, over HTTP, on both databases."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

from airflow_sop_provider.client import ExecutionCoordinator
from tests.integration.airflow_system import AirflowSystem
from tools.dev.instance import ADMIN

AT_ONCE = 20


def _coordinator(airflow: AirflowSystem) -> ExecutionCoordinator:
    return ExecutionCoordinator(airflow.instance.url, user=ADMIN, password=airflow.instance.password)


def test_submissions_at_once_with_one_key_are_one_execution(airflow: AirflowSystem) -> None:
    """Over HTTP on both databases; the 20 all wait for each other before any of them calls."""
    airflow.wait_for_dag("single")
    together = Barrier(AT_ONCE)

    def submit(_: int) -> str:
        with _coordinator(airflow) as engine:
            engine.list_executions(limit=1)  # signed in
            together.wait()
            return engine.submit_execution("single", idempotency_key="at-once")

    with ThreadPoolExecutor(AT_ONCE) as pool:
        made = set(pool.map(submit, range(AT_ONCE)))
    assert len(made) == 1
    stored = "SELECT COUNT(*) FROM sop_submission WHERE \"key\" = 'at-once'"
    assert airflow.query(stored) == [(1,)]
    with _coordinator(airflow) as engine:
        assert engine.wait(made.pop()).status == "COMPLETED"
