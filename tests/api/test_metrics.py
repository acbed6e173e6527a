"""Figures over HTTP: only of SOPs that the caller may see, for people and for Prometheus."""

from __future__ import annotations

from airflow.utils.session import create_session
from prometheus_client.parser import text_string_to_metric_families

from airflow_sop_provider.contract.attempt import AttemptKey
from airflow_sop_provider.contract.verdict import Usage
from airflow_sop_provider.store.attempts import AttemptBegin, AttemptEnd, begin_attempt, end_attempt
from airflow_sop_provider.store.executions import find_execution
from airflow_sop_provider.store.tables import BreakerRow
from tests.api.test_executions import finish, submit

V1 = "/api/v1"


def test_figures_of_a_window(admin, chain) -> None:
    admin.post(f"{V1}/sops/{chain}/executions", json={})
    got = admin.get(f"{V1}/metrics/summary").json()
    assert (got["counts"]["total"], got["queue_depth"], got["success_rate"]) == (1, 1, None)
    past = {"since": "2020-01-01T00:00:00", "until": "2020-01-02T00:00:00"}
    assert admin.get(f"{V1}/metrics/summary", params=past).json()["counts"]["total"] == 0
    turned = {"since": past["until"], "until": past["since"]}
    assert admin.get(f"{V1}/metrics/summary", params=turned).status_code == 422


def families(answer) -> dict[str, dict[tuple[str, ...], float]]:
    """Read an exposition as Prometheus does: family -> values of its labels, by their names -> sample."""
    return {
        family.name: {
            tuple(sample.labels[name] for name in sorted(sample.labels)): sample.value for sample in family.samples
        }
        for family in text_string_to_metric_families(answer.text)
    }


def test_figures_for_prometheus(admin, chain, set_tasks) -> None:
    submit(admin, chain)
    run_id = submit(admin, chain).json()["run_id"]
    key = AttemptKey(sop=chain, run_id=run_id, step="first", attempt=1, task_instance_id="t-1")
    usage = Usage(wall_seconds=2.0, cpu_seconds=0.5, peak_memory_bytes=2**20)
    begin = AttemptBegin(key=key, kind="step", runtime="local", memory_bytes=2**22, cpu_millis=500)
    with create_session() as session:
        row = find_execution(session, chain, run_id)
        begin_attempt(session, row, begin)
        end_attempt(session, row, AttemptEnd(key=key, state="retrying", error_type="transient", usage=usage))
        session.add(BreakerRow(server='a "server"', state="open", window="1" * 10))
    set_tasks(chain, run_id, first="success", second="success")
    finish(chain, run_id, "success")
    answer = admin.get(f"{V1}/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    got = families(answer)
    assert got["sop_executions"][("completed",)] >= 1
    assert 0 < got["sop_success_rate"][()] <= 1
    assert got["sop_queue_depth"][()] >= 1
    assert set(got["sop_duration_seconds"]) == {("mean",), ("p95",), ("p99",)}
    assert got["sop_duration_by_mode_seconds"].keys() == {(one, "system_design") for one in ("mean", "p95", "p99")}
    assert 0 < got["sop_success_rate_by_mode"][("system_design",)] <= 1
    assert got["sop_executions_ended_by_control"][("T-1",)] >= 1
    assert ("T-1", "p99") in got["sop_duration_by_control_seconds"]
    assert got["sop_attempt_error_rate"] == {("transient",): 1}
    assert (got["sop_cpu_seconds"][()], got["sop_cpu_utilisation"][()]) == (0.5, 0.5)
    assert (got["sop_peak_memory_bytes"][()], got["sop_memory_utilisation"][()]) == (2**20, 0.25)
    assert got["sop_breaker_state"][('a "server"', "open")] == 1
    assert got["sop_breaker_state"][('a "server"', "closed")] == 0
    assert got["sop_breaker_failure_ratio"] == {('a "server"',): 1}
    assert got["sop_escalations"] == {("pending",): 0, ("dead",): 0}


def test_what_is_not_known_has_no_sample(admin, chain) -> None:
    got = families(admin.get(f"{V1}/metrics"))
    for name in ("sop_success_rate", "sop_duration_seconds", "sop_cpu_utilisation", "sop_peak_memory_bytes"):
        assert got.get(name, {}) == {}, name


def test_nobody_gets_nothing(client) -> None:
    assert client.get(f"{V1}/metrics/summary").status_code == 401
    assert client.get(f"{V1}/metrics").status_code == 401
