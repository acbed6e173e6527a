"""What a failure leads to on a real Airflow whose steps are pods: undone, tried again, or ended by somebody.

The executions run at the same time, because what takes time is waiting.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

import pytest

from airflow_sop_provider.client import ExecutionCoordinator
from tests.integration.airflow_system import AirflowSystem
from tests.kubernetes.conftest import KEPT_SECONDS, Kubectl
from tests.kubernetes.test_airflow import nothing_left
from tools.dev.instance import ADMIN

pytestmark = [pytest.mark.kubernetes, pytest.mark.alone, pytest.mark.timeout(1800)]

MEBI = 1024**2


@dataclass(frozen=True)
class Begun:
    """Executions that were triggered together, and the engine to ask about them."""

    airflow: AirflowSystem
    engine: ExecutionCoordinator
    partial: str
    retried: str
    cancelled: str
    same: str

    def result(self, sop: str, run: str) -> dict[str, Any]:
        """Wait for its end; return the stored execution, as ``sop result`` prints it."""
        self.engine.wait(f"{sop}/{run}", timeout=600)
        return self.engine.result(f"{sop}/{run}")


@pytest.fixture(scope="module")
def begun(airflow: AirflowSystem) -> Iterator[Begun]:
    with ExecutionCoordinator(airflow.instance.url, user=ADMIN, password=airflow.instance.password) as engine:
        cancelled = airflow.trigger("sleeper", trace="/tmp/trace", seconds=600)
        partial, retried = airflow.trigger("partial"), airflow.trigger("retried")
        same = airflow.trigger("same")
        airflow.wait_for(lambda: "tick 1" in airflow.log_lines("sleeper", cancelled, "sleep"), "the sleeper's pod")
        engine.cancel_execution(f"sleeper/{cancelled}", "not wanted any more")
        yield Begun(airflow, engine, partial, retried, cancelled, same)


def named(cluster: Kubectl, names: Iterable[str]) -> list[str]:
    """What the cluster holds of these attempts."""
    return sorted(one for one in cluster.left() if one.partition("/")[2] in set(names))


def attempts_of(result: dict[str, Any], step: str) -> list[dict[str, Any]]:
    return sorted((one for one in result["attempts"] if one["step"] == step), key=lambda one: one["attempt"])


def test_a_branch_that_fails_is_undone_in_reverse_order_and_the_other_one_finishes(begun: Begun) -> None:
    result = begun.result("partial", begun.partial)
    assert result["execution"]["status"] == "PARTIALLY_COMPLETED"
    states = {one["step"]: one["state"] for one in result["attempts"]}
    assert states == {
        "first": "succeeded", "second": "succeeded", "breaks": "failed", "other": "succeeded", "other_end": "succeeded",
        "undo_second": "failed", "undo_first": "succeeded",
    }  # fmt: skip
    assert begun.engine.get_execution_status(f"partial/{begun.partial}").steps["halted"] == "halted"
    [later], [earlier] = attempts_of(result, "undo_second"), attempts_of(result, "undo_first")
    assert later["ended_at"] <= earlier["started_at"], "what came last is undone first"
    assert all(attempts_of(result, step)[0]["ended_at"] <= later["started_at"] for step in ("breaks", "other_end"))
    shown = begun.airflow.step_states("partial", begun.partial)
    assert (shown["undo_second"], shown["undo_first"], shown["halted"]) == ("failed", "success", "upstream_failed")


def test_the_pod_of_a_failed_attempt_stays_for_its_time_with_its_secret(begun: Begun, cluster: Kubectl) -> None:
    """And with it no other: what succeeded is gone at once."""
    result = begun.result("partial", begun.partial)
    [failed] = attempts_of(result, "undo_second")
    name = failed["container"]
    good = [one for one in result["attempts"] if one["state"] == "succeeded"]
    begun.airflow.wait_for(lambda: not named(cluster, [one["container"] for one in good]), "what succeeded to go")
    for one in good:  # what was collected of it before it went
        assert one["usage"]["cpu_seconds"] > 0, one
        assert "Succeeded" in begun.airflow.log_lines("partial", begun.partial, one["step"])
    assert named(cluster, [name]) == [f"pod/{name}", f"secret/{name}"]
    begun.airflow.wait_for(lambda: not named(cluster, [name]), "the time to be over")
    kept = datetime.now(UTC) - datetime.fromisoformat(failed["ended_at"])
    # the time runs from the container's end, which is recorded when verdict and log are there
    assert kept.total_seconds() >= KEPT_SECONDS / 2


def test_retries_their_delays_and_reasons_are_stored_and_shown_in_airflow(begun: Begun) -> None:
    result = begun.result("retried", begun.retried)
    assert result["execution"]["status"] == "COMPLETED"
    first, second, third = attempts_of(result, "flaky")
    assert [one["retry_delay_seconds"] for one in (first, second, third)] == [1, 2, None]
    assert first["retry_reason"].startswith("transient failure: retry 1 of 3 in 1 s")
    assert second["retry_reason"].startswith("transient failure: retry 2 of 3 in 2 s")
    assert {one["error_type"] for one in (first, second)} == {"transient"}
    assert len({one["container"] for one in (first, second, third)}) == 3, "a fresh pod each"
    airflow = begun.airflow
    path = f"/api/v2/dags/retried/dagRuns/{begun.retried}/taskInstances/flaky"
    tries = airflow.request("GET", f"{path}/tries").json()["task_instances"]
    assert [(one["try_number"], one["state"]) for one in tries] == [
        (1, "failed"), (2, "failed"), (3, "success"),
    ]  # fmt: skip
    for number, delay in ((1, 1), (2, 2)):  # the log that the UI shows of each try
        text = airflow.request("GET", f"{path}/logs/{number}", params={"full_content": "true"}).text
        assert f"Next try in {delay} s: transient failure: retry {number} of 3" in text
    plugins = airflow.request("GET", "/api/v2/plugins").json()["plugins"]  # what the UI makes its tabs of
    [tab] = [view for one in plugins for view in one["external_views"] if view["destination"] == "task_instance"]
    names = {"{DAG_ID}": "retried", "{RUN_ID}": quote(begun.retried), "{TASK_ID}": "flaky", "{MAP_INDEX}": "-1"}
    shown = airflow.request("GET", re.sub(r"\{[A-Z_]+\}", lambda found: names[found[0]], tab["href"])).text
    assert "retry 1 of 3 in 1 s" in shown
    assert "retry 2 of 3 in 2 s" in shown


def test_memory_that_was_not_enough_is_doubled_for_the_next_try(begun: Begun) -> None:
    result = begun.result("retried", begun.retried)
    tried = attempts_of(result, "greedy")
    assert [one["memory_bytes"] for one in tried] == [96 * MEBI, 192 * MEBI]
    assert [one["error_type"] for one in tried] == ["resource", None]
    assert f"with {192 * MEBI} bytes of memory" in tried[0]["retry_reason"]


def test_a_cancelled_execution_says_who_and_why_and_its_pod_is_gone(begun: Begun, cluster: Kubectl) -> None:
    result = begun.result("sleeper", begun.cancelled)
    execution = result["execution"]
    assert (execution["status"], execution["cancelled_by"]) == ("CANCELLED", ADMIN)
    assert execution["cancel_reason"] == "not wanted any more"
    assert [one["state"] for one in attempts_of(result, "sleep")] == ["stopped"], "once, and not tried again"
    for sop, run in (("partial", begun.partial), ("retried", begun.retried)):
        begun.result(sop, run)
    nothing_left(begun.airflow, cluster)


def test_without_our_executor_the_same_comes_out_of_pods_of_the_operator(begun: Begun, cluster: Kubectl) -> None:
    """`SopStepOperator.execute`, a `KubernetesPodOperator`, in workers of the LocalExecutor; last, as it stays so."""
    airflow = begun.airflow
    assert airflow.wait_for_run("same", begun.same) == "success"
    nothing_left(airflow, cluster)  # what is kept goes as long as our executor runs
    began = datetime.now(UTC)
    for component in ("scheduler", "dag-processor"):
        airflow.restart(component, core__executor="LocalExecutor", core__parallelism="4")
    airflow.wait_for(lambda: read_since(airflow, began), "the SOP to be read again")
    assert airflow.executor_children() == []
    other, state = airflow.run("same")
    assert state == "success", airflow.step_states("same", other)
    assert airflow.step_states("same", other) == airflow.step_states("same", begun.same)
    assert airflow.step("same", other, "flaky").attempt == airflow.step("same", begun.same, "flaky").attempt == 2
    for step, index in (("numbers", -1), ("flaky", -1), ("squares", 0), ("squares", 1)):
        ours = airflow.api.outputs("same", begun.same, step, index)
        assert airflow.api.outputs("same", other, step, index) == ours, step
    assert airflow.api.outputs("same", other, "numbers") == {"all": list(range(5000))}
    airflow.wait_for(lambda: not cluster("get", "pods", "-o", "name"), "the operator's pods to go")


def read_since(airflow: AirflowSystem, moment: datetime) -> bool:
    dag = airflow.api.dag("same")
    return dag is not None and dag.read_at is not None and dag.read_at > moment
