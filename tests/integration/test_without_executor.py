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
    try:
        airflow.wait_for(lambda: all(_read_since(airflow, sop, began) for sop in USED), "new DAGs", seconds=300)
        assert airflow.executor_children() == []
        _run_everything(airflow, trace)
    finally:
        for component in ("scheduler", "dag-processor"):
            airflow.restart(component)


def _read_since(airflow: AirflowSystem, sop: str, moment: datetime) -> bool:
    dag = airflow.api.dag(sop)
    return dag is not None and dag.read_at is not None and dag.read_at > moment


def _run_everything(airflow: AirflowSystem, trace: Path) -> None:
    chain, state = airflow.run("compute-chain", number=4)
    assert state == "success"
    assert airflow.api.outputs("compute-chain", chain, "report") == {"text": "the answer is 10", "run": chain}
    fan, state = airflow.run("fan-out", count=3)
    assert state == "success"
    assert airflow.api.outputs("fan-out", fan, "total") == {"sum": 5}
    branch, state = airflow.run("branch", amount=5)
    assert state == "success"
    assert airflow.step_states("branch", branch)["thorough"] == "skipped"
    flaky, state = airflow.run("flaky", trace=str(trace), code=75, failures=1)
    assert state == "success"
    assert airflow.step("flaky", flaky, "try").attempt == 2
    failed, state = airflow.run("flaky", trace=str(trace), code=65, failures=9)
    assert state == "failed"
    assert airflow.step("flaky", failed, "try").attempt == 1
