"""Executions over HTTP: what is refused creates nothing, what is accepted can be followed to its result."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from threading import Barrier
from urllib.parse import quote

import pytest
from airflow.models.dag import DagModel
from airflow.models.dagbag import DBDagBag
from airflow.models.dagrun import DagRun
from airflow.utils.session import create_session
from airflow.utils.types import DagRunTriggeredByType, DagRunType
from fastapi.testclient import TestClient
from sqlalchemy import func, select, update

from airflow_sop_provider.contract.attempt import AttemptKey
from airflow_sop_provider.runs.reconcile import reconcile
from airflow_sop_provider.store.alert_tables import OutboxRow
from airflow_sop_provider.store.attempts import AttemptBegin, begin_attempt
from airflow_sop_provider.store.executions import find_execution

V1 = "/api/v1"


def runs(sop: str) -> int:
    with create_session() as session:
        return session.scalar(select(func.count()).select_from(DagRun).where(DagRun.dag_id == sop)) or 0


def submit(client, sop, key=None, **body):
    headers = {} if key is None else {"Idempotency-Key": key}
    return client.post(f"{V1}/sops/{sop}/executions", json=body, headers=headers)


def address(answer) -> str:
    made = answer.json()
    return f"{V1}/sops/{made['sop']}/executions/{quote(made['run_id'])}"


def finish(sop: str, run_id: str, state: str) -> None:
    with create_session() as session:
        session.execute(
            update(DagRun)
            .where(DagRun.dag_id == sop, DagRun.run_id == run_id)
            .values({DagRun._state: state, DagRun.end_date: datetime.now(UTC)})
        )
    reconcile(create_session)


def test_nobody_gets_nothing(client, chain) -> None:
    for method, path in (
        ("GET", "/executions"), ("POST", f"/sops/{chain}/executions"), ("GET", f"/sops/{chain}/executions/x"),
        ("GET", f"/sops/{chain}/executions/x/status"), ("GET", f"/sops/{chain}/executions/x/events"),
        ("POST", f"/sops/{chain}/executions/x/cancel"), ("POST", "/runner/events"), ("GET", "/runner/checkpoint"),
    ):  # fmt: skip
        assert client.request(method, V1 + path, json={}).status_code == 401, path


@pytest.mark.parametrize("turn", ["first", "second"])
def test_no_test_leaves_a_run_to_the_next(admin, chain, turn) -> None:
    assert submit(admin, chain).status_code == 201
    assert runs(chain) == 1


def test_a_viewer_reads_and_starts_nothing(signed_in, admin, chain) -> None:
    made = submit(admin, chain)
    viewer = signed_in("viewer")
    assert viewer.get(f"{address(made)}/status").status_code == 200
    before = runs(chain)
    assert submit(viewer, chain).status_code == 403
    assert viewer.post(f"{address(made)}/cancel", json={}).status_code == 403
    assert runs(chain) == before


def test_an_execution_is_created_with_its_inputs_and_priority(admin, chain) -> None:
    answer = submit(admin, chain, inputs={"number": 4}, priority="high", schedule={"batch": "nightly"})
    assert answer.status_code == 201
    made = answer.json()
    assert (made["inputs"], made["priority"], made["batch"]) == ({"number": 4}, "high", "nightly")
    assert (made["status"], made["requested_by"], made["mode"]) == ("SUBMITTED", "admin", "system_design")
    with create_session() as session:
        run = session.scalars(select(DagRun).where(DagRun.run_id == made["run_id"])).one()
        assert run.conf == {"number": 4, "priority": "high", "batch": "nightly"}


def test_one_key_is_one_execution(admin, chain) -> None:
    before = runs(chain)
    first, second = (
        submit(admin, chain, key="k", inputs={"number": 2}),
        submit(admin, chain, key="k", inputs={"number": 2}),
    )
    assert (first.status_code, second.status_code) == (201, 200)
    assert first.json()["run_id"] == second.json()["run_id"]
    assert runs(chain) == before + 1
    assert submit(admin, chain, key="k", inputs={"number": 3}).status_code == 409


def test_many_at_once_with_one_key_are_one_execution(admin, chain) -> None:
    """As a client does it whose answers get lost: all arrive before the first is stored."""
    before, together = runs(chain), Barrier(20)

    def one(_: int):
        together.wait()
        return submit(TestClient(admin.app, headers=admin.headers), chain, key="at-once", inputs={"number": 2})

    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(one, range(20)))
    assert sorted(answer.status_code for answer in answers) == [200] * 19 + [201]
    assert len({answer.json()["run_id"] for answer in answers}) == 1
    assert runs(chain) == before + 1


def test_a_key_whose_request_was_refused_is_free(admin, chain) -> None:
    assert submit(admin, chain, key="again", inputs={"number": "many"}).status_code == 422
    assert submit(admin, chain, key="again", inputs={"number": 2}).status_code == 201


@pytest.mark.parametrize(
    ("body", "status", "says"),
    [
        ({"inputs": {"number": "many"}}, 422, "number"),
        ({"inputs": {"nombre": 1}}, 422, "did you mean `number`?"),
        ({"inputs": {"priority": "high"}}, 422, "beside the inputs"),
        ({"execution_mode": "agent_centric"}, 409, "runs as system_design"),
        ({"priority": "urgent"}, 422, "critical"),
        ({"surprise": 1}, 422, "surprise"),
    ],
)
def test_what_cannot_run_creates_nothing(admin, chain, body, status, says) -> None:
    before = runs(chain)
    answer = submit(admin, chain, **body)
    assert answer.status_code == status
    assert says in answer.text
    assert runs(chain) == before


def test_an_unknown_or_paused_sop_is_refused(admin, chain) -> None:
    assert submit(admin, "no-such-sop").status_code == 404
    with create_session() as session:
        session.execute(update(DagModel).where(DagModel.dag_id == chain).values(is_paused=True))
    try:
        answer = submit(admin, chain)
        assert answer.status_code == 409
        assert "unpause" in answer.text
    finally:
        with create_session() as session:
            session.execute(update(DagModel).where(DagModel.dag_id == chain).values(is_paused=False))


def test_the_status_follows_the_steps(admin, chain, set_tasks) -> None:
    made = submit(admin, chain)
    run_id = made.json()["run_id"]
    set_tasks(chain, run_id, first="success", second="running")
    now = admin.get(f"{address(made)}/status").json()
    assert (now["progress"], now["current_steps"]) == (0.5, ["second"])
    assert now["steps"] == {"first": "succeeded", "second": "running"}
    assert now["dependencies"] == {"first": [], "second": ["first"]}


def test_an_execution_that_nobody_of_ours_carried_has_its_verdict(admin, chain, set_tasks) -> None:
    made = submit(admin, chain)
    run_id = made.json()["run_id"]
    set_tasks(chain, run_id, first="success", second="failed")
    finish(chain, run_id, "failed")
    found = admin.get(address(made)).json()
    assert found["execution"]["status"] == "FAILED"
    assert found["result"]["failed"] == ["second"]
    assert admin.get(f"{address(made)}/status").json()["progress"] == 1.0


def test_a_run_that_airflow_started_is_followed_just_the_same(admin, chain, set_tasks) -> None:
    made = submit(admin, chain)
    run_id = made.json()["run_id"]
    with create_session() as session:  # as if the engine had never heard of it
        session.delete(find_execution(session, chain, run_id))
    assert reconcile(create_session).opened >= 1
    set_tasks(chain, run_id, first="success", second="success")
    finish(chain, run_id, "success")
    assert admin.get(address(made)).json()["execution"]["status"] == "COMPLETED"


def test_what_failed_in_part_is_said_to_be_so(admin, fork, set_tasks) -> None:
    made = submit(admin, fork)
    run_id = made.json()["run_id"]
    set_tasks(fork, run_id, first="success", second="failed")
    finish(fork, run_id, "failed")
    found = admin.get(address(made)).json()
    assert found["execution"]["status"] == "PARTIALLY_COMPLETED"
    assert found["result"]["failed"] == ["second"]
    assert admin.get(f"{V1}/executions", params={"status": "PARTIALLY_COMPLETED"}).json()["executions"]


@pytest.mark.parametrize(
    ("run_type", "by"),
    [
        (DagRunType.MANUAL, DagRunTriggeredByType.UI),
        (DagRunType.MANUAL, DagRunTriggeredByType.REST_API),
        (DagRunType.SCHEDULED, DagRunTriggeredByType.TIMETABLE),
        (DagRunType.BACKFILL_JOB, DagRunTriggeredByType.BACKFILL),
    ],
)
def test_a_run_is_followed_whoever_started_it(admin, chain, set_tasks, run_type, by) -> None:
    """From the first look to its verdict, with its context, as if we had been asked for it."""
    now = datetime.now(UTC)
    with create_session() as session:
        dag = DBDagBag().get_latest_version_of_dag(chain, session=session)
        made = dag.create_dagrun(
            run_id=f"{run_type}__it", run_after=now, run_type=run_type, triggered_by=by, state="running", conf={},
            logical_date=now, data_interval=(now, now), session=session,
        )  # fmt: skip
        run_id = made.run_id
    reconcile(create_session)
    one = f"{V1}/sops/{chain}/executions/{quote(run_id)}"
    assert admin.get(f"{one}/status").json()["status"] == "QUEUED"
    set_tasks(chain, run_id, first="success", second="success")
    finish(chain, run_id, "success")
    found = admin.get(one).json()
    assert (found["execution"]["status"], found["execution"]["run_type"]) == ("COMPLETED", str(run_type))
    assert [step["id"] for step in found["context"]["steps"]] == ["first", "second"]


def test_a_run_that_was_deleted_leaves_a_verdict(admin, chain) -> None:
    made = submit(admin, chain)
    with create_session() as session:
        session.delete(session.scalars(select(DagRun).where(DagRun.run_id == made.json()["run_id"])).one())
    reconcile(create_session)
    found = admin.get(address(made)).json()["execution"]
    assert (found["status"], found["cancelled_by"]) == ("CANCELLED", "airflow")


def test_cancelling_ends_the_run_and_says_who_and_why(admin, chain) -> None:
    made = submit(admin, chain)
    answer = admin.post(f"{address(made)}/cancel", json={"reason": "wrong vendor"})
    assert (answer.status_code, answer.json()["cancelled_by"]) == (200, "admin")
    with create_session() as session:
        run = session.scalars(select(DagRun).where(DagRun.run_id == made.json()["run_id"])).one()
        assert run.state == "failed"
    reconcile(create_session)
    found = admin.get(address(made)).json()["execution"]
    assert (found["status"], found["cancel_reason"]) == ("CANCELLED", "wrong vendor")
    assert admin.post(f"{address(made)}/cancel", json={}).status_code == 409


def test_what_ran_when_an_execution_was_cancelled_is_stopped_and_no_failure_to_escalate(
    admin, chain, set_tasks
) -> None:
    made = submit(admin, chain)
    run_id = made.json()["run_id"]
    set_tasks(chain, run_id, first="success", second="running")
    admin.post(f"{address(made)}/cancel", json={"reason": "wrong vendor"})
    reconcile(create_session)  # before the executor has ended it and says so
    found = admin.get(address(made)).json()
    [running] = [one for one in found["attempts"] if one["step"] == "second"]
    assert (running["state"], running["error_type"]) == ("stopped", None)
    with create_session() as session:
        execution = find_execution(session, chain, run_id)
        told = select(OutboxRow.payload).where(OutboxRow.execution_id == execution.id, OutboxRow.kind == "failure")
        assert list(session.scalars(told)) == []


def test_events_end_with_the_final_status(admin, chain, set_tasks) -> None:
    made = submit(admin, chain)
    set_tasks(chain, made.json()["run_id"], first="success", second="success")
    finish(chain, made.json()["run_id"], "success")
    with admin.stream("GET", f"{address(made)}/events") as stream:
        text = "".join(stream.iter_text())
    assert text.startswith("event: status\ndata: {")
    assert '"status": "COMPLETED"' in text
    assert admin.get(f"{V1}/sops/{chain}/executions/none/events").status_code == 404


def test_attempts_are_part_of_the_answer(admin, chain) -> None:
    made = submit(admin, chain)
    run_id = made.json()["run_id"]
    key = AttemptKey(sop=chain, run_id=run_id, step="first", attempt=1, task_instance_id="t-1")
    with create_session() as session:
        execution = find_execution(session, chain, run_id)
        begin_attempt(session, execution, AttemptBegin(key=key, kind="step", runtime="local"))
    found = admin.get(address(made)).json()
    assert found["execution"]["status"] == "RUNNING"
    assert [(one["step"], one["state"]) for one in found["attempts"]] == [("first", "running")]
    set_end(chain, run_id)
    found = admin.get(address(made)).json()
    assert [(one["step"], one["state"]) for one in found["attempts"]] == [("first", "stopped")]


def set_end(sop: str, run_id: str) -> None:
    finish(sop, run_id, "failed")


def test_pages_are_stable_and_filtered(admin, chain) -> None:
    made = [submit(admin, chain, schedule={"batch": "b"}).json()["run_id"] for _ in range(5)]
    submit(admin, chain)
    first = admin.get(f"{V1}/executions", params={"batch": "b", "limit": 2}).json()
    submit(admin, chain, schedule={"batch": "b"})
    second = admin.get(f"{V1}/executions", params={"batch": "b", "limit": 5, "cursor": first["next_cursor"]}).json()
    seen = [one["run_id"] for one in first["executions"] + second["executions"]]
    assert seen == made[::-1]
    assert second["next_cursor"] is None
    assert admin.get(f"{V1}/executions", params={"sop": "other"}).json()["executions"] == []
    assert admin.get(f"{V1}/executions", params={"cursor": "x"}).status_code == 422
    assert (
        len(admin.get(f"{V1}/executions", params={"status": "SUBMITTED", "control": "T-1"}).json()["executions"]) == 7
    )
