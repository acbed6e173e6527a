"""What users of Airflow expect of a DAG holds for an SOP: edits, errors, schedules, backfill, priorities."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

from airflow_sop_provider.engine.pools import BATCH_POOL, REALTIME_POOL
from tests.integration.airflow_system import SOPS, AirflowSystem
from tests.integration.begun import Begun
from tests.integration.conftest import on_sqlite

SINGLE = (SOPS / "single.yaml").read_text()


@on_sqlite
def test_added_edited_and_deleted_documents_are_picked_up(airflow: AirflowSystem) -> None:
    document = airflow.instance.sops / "fresh.yaml"
    document.write_text(SINGLE.replace("sop: single", "sop: fresh"))
    airflow.wait_for_dag("fresh")
    (stub,) = (airflow.home / "bundles" / "sops").glob("stubs-*/single.yaml.py")
    untouched = stub.stat().st_mtime_ns
    document.write_text(SINGLE.replace("sop: single", "sop: fresh").replace("One computed step", "Another title"))
    airflow.wait_for(lambda: airflow.api.dag("fresh").title == "Another title", "the edit")
    assert stub.stat().st_mtime_ns == untouched, "an edit touches no other SOP's DAG file"
    document.unlink()
    airflow.wait_for(lambda: _is_gone(airflow, "fresh"), "the deletion")
    assert stub.stat().st_mtime_ns == untouched


def _is_gone(airflow: AirflowSystem, sop: str) -> bool:
    dag = airflow.api.dag(sop)
    return dag is None or dag.stale


@on_sqlite
def test_a_broken_document_shows_our_message_and_harms_no_other(airflow: AirflowSystem) -> None:
    document = airflow.instance.sops / "broken.yaml"
    document.write_text(SINGLE.replace("sop: single", "sop: broken").replace("compute:", "compuet:"))
    try:
        errors = airflow.wait_for(
            lambda: [e for e in airflow.api.import_errors() if "broken" in e["filename"]], "the error"
        )
        text = errors[0]["stack_trace"]
        assert "did you mean `compute`" in text
        assert "broken.yaml:8:5" in text
        assert "Traceback" not in text
        assert airflow.run("single")[1] == "success"
    finally:
        document.unlink()
    airflow.wait_for(lambda: not airflow.api.import_errors(), "the error to go with its file")


@on_sqlite
def test_an_ordinary_dag_runs_beside_the_sops(begun: Begun) -> None:
    assert begun["plain"].state() == "success"
    assert any("hello from the LocalExecutor" in line for line in begun["plain"].log_lines("hello"))


@on_sqlite
def test_a_task_that_is_no_step_fails_at_once_and_says_why(begun: Begun) -> None:
    assert begun["misplaced"].state() == "failed"
    assert begun["misplaced"].attempt("hello") == 1
    assert any("is no SOP step" in line for line in begun["misplaced"].log_lines("hello"))


@on_sqlite
def test_sops_of_an_ordinary_dag_file(begun: Begun) -> None:
    assert begun["from-a-file"].state() == "success"
    assert begun["from-a-file"].outputs("only") == {"value": "loaded"}


@on_sqlite
def test_higher_priority_starts_first_among_the_queued(airflow: AirflowSystem, tmp_path: Path) -> None:
    """Properties 17 and 18 on the real thing: nothing free means queued, and the highest priority is next."""
    airflow.wait_until_quiet()
    trace = tmp_path / "order.txt"
    trace.touch()
    _set_slots(airflow, 1)
    try:
        blocker = airflow.trigger("sleeper", trace=str(tmp_path / "blocker.txt"), seconds=20)
        airflow.wait_for_step("sleeper", blocker, "sleep", "running")
        runs = {
            name: airflow.trigger("flaky", trace=str(trace), failures=0, priority=name)
            for name in ("low", "normal", "critical", "high")
        }
        airflow.wait_for(
            lambda: all(airflow.step("flaky", run, "try").state == "scheduled" for run in runs.values()),
            "all of them to wait for the pool",
        )
        assert trace.read_text() == ""
        for run in runs.values():
            assert airflow.wait_for_run("flaky", run) == "success"
        started = {name: airflow.step("flaky", run, "try").started for name, run in runs.items()}
        assert sorted(started, key=lambda name: started[name]) == ["critical", "high", "normal", "low"]
        assert airflow.wait_for_run("sleeper", blocker) == "success"
    finally:
        _set_slots(airflow, 4096)


def _set_slots(airflow: AirflowSystem, slots: int) -> None:
    body = {"pool": REALTIME_POOL, "slots": slots, "description": "changed by a test", "include_deferred": True}
    answer = airflow.request("PATCH", f"/api/v2/pools/{REALTIME_POOL}", json=body)
    assert answer.is_success, answer.text
    assert answer.json()["slots"] == slots


def test_backfill_over_rest_runs_each_day_of_the_schedule(airflow: AirflowSystem) -> None:
    airflow.wait_for_dag("nightly")
    assert not airflow.request("GET", "/api/v2/dags/nightly/dagRuns").json()["dag_runs"], "no catch-up unasked"
    today = datetime.now(UTC).replace(hour=12, minute=0, second=0, microsecond=0)
    body = {
        "dag_id": "nightly",
        "from_date": (today - timedelta(days=3)).isoformat(),
        "to_date": (today - timedelta(days=1)).isoformat(),
        "max_active_runs": 2,
    }
    assert airflow.request("POST", "/api/v2/backfills", json=body).is_success

    def finished() -> list[str]:
        runs = airflow.request("GET", "/api/v2/dags/nightly/dagRuns").json()["dag_runs"]
        return sorted(run["logical_date"] for run in runs if run["state"] == "success")

    days = airflow.wait_for(lambda: found if len(found := finished()) >= 2 else None, "the backfill")
    assert {datetime.fromisoformat(day).astimezone(UTC).hour for day in days} == {0}, "01:00 in Berlin, in winter"
    steps = airflow.request("GET", "/api/v2/dags/nightly/dagRuns/~/taskInstances").json()["task_instances"]
    assert {step["pool"] for step in steps} == {BATCH_POOL}


def test_rollback_undoes_in_reverse_order_and_the_execution_stays_failed(begun: Begun) -> None:
    assert begun["undo"].state() == "failed"
    assert begun["undo"].trace.read_text().split() == ["first", "second", "undo-second", "undo-first"]
    assert begun["undo"].attempt("third") == 1


@on_sqlite
def test_rollback_is_skipped_when_nothing_failed(begun: Begun) -> None:
    execution = begun["nothing to undo"]
    assert execution.state() == "success"
    assert execution.trace.read_text().split() == ["first", "second"]
    states = execution.step_states()
    assert states["undo_first"] == states["undo_second"] == "skipped"
