"""Where our executor is not configured, the operator's own execute() gives the same results."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from tests.integration.airflow_system import AirflowSystem
from tests.integration.conftest import on_sqlite

USED = ("compute-chain", "fan-out", "branch", "flaky")


@on_sqlite
def test_the_operator_gives_the_same_result_through_local_executor(airflow: AirflowSystem, trace: Path) -> None:
    began = datetime.now(UTC)
    for component in ("scheduler", "dag-processor"):
        airflow.restart(component, core__executor="LocalExecutor", core__parallelism="4")
    airflow.wait_for(lambda: all(_read_since(airflow, sop, began) for sop in USED), "new DAGs")
    assert airflow.executor_children() == []
    _run_everything(airflow, trace)


def _read_since(airflow: AirflowSystem, sop: str, moment: datetime) -> bool:
    dag = airflow.api.dag(sop)
    return dag is not None and dag.read_at is not None and dag.read_at > moment


def _run_everything(airflow: AirflowSystem, trace: Path) -> None:
    other = trace.with_name("other.txt")
    other.touch()
    chain = airflow.trigger("compute-chain", number=4)
    fan = airflow.trigger("fan-out", count=3)
    branch = airflow.trigger("branch", amount=5)
    flaky = airflow.trigger("flaky", trace=str(trace), code=75, failures=1)
    failed = airflow.trigger("flaky", trace=str(other), code=65, failures=9)
    assert airflow.wait_for_run("compute-chain", chain, seconds=600) == "success"
    assert airflow.api.outputs("compute-chain", chain, "report") == {"text": "the answer is 10", "run": chain}
    assert airflow.wait_for_run("fan-out", fan, seconds=600) == "success"
    assert airflow.api.outputs("fan-out", fan, "total") == {"sum": 5}
    assert airflow.wait_for_run("branch", branch, seconds=600) == "success"
    assert airflow.step_states("branch", branch)["thorough"] == "skipped"
    assert airflow.wait_for_run("flaky", flaky, seconds=600) == "success"
    assert airflow.wait_for_run("flaky", failed, seconds=600) == "failed"
    # A worker that Airflow loses before it began the step costs a try here, so what counts is how often it ran.
    assert len(trace.read_text().splitlines()) == 2, _attempts(airflow, flaky)
    assert len(other.read_text().splitlines()) == 1, _attempts(airflow, failed)
    reasons = airflow.query(
        "SELECT retry_delay_override, retry_reason FROM task_instance_history"
        " WHERE dag_id = 'flaky' AND task_id = 'try' AND run_id = :run AND retry_reason IS NOT NULL",
        run=flaky,
    )
    assert [(delay, reason.split(" (")[0]) for delay, reason in reasons] == [
        (1, "transient failure: retry 1 of 3 in 1 s")
    ], _attempts(airflow, flaky)


def _attempts(airflow: AirflowSystem, run: str) -> str:
    """The log of every attempt, for who has to find out what happened."""
    logs = sorted((airflow.task_logs / f"dag_id=flaky/run_id={run}/task_id=try").glob("attempt=*.log"))
    return "\n".join(f"--- {log.name}\n{log.read_text(errors='replace')}" for log in logs)
