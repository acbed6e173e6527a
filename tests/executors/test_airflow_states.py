"""What an attempt leaves in Airflow's tables, row by row, is what Airflow's own Execution API leaves.

Both on the same database: one run is set by our calls of the routes, in our transaction; one over HTTP, by Airflow's
application with its own sessions. A release of Airflow that changes the routes fails here first.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, get_args

import httpx
import pytest
from airflow.api_fastapi.execution_api.app import InProcessExecutionAPI
from airflow.api_fastapi.execution_api.datamodels.taskinstance import TIStateUpdate, ti_state_discriminator
from airflow.api_fastapi.execution_api.routes.task_instances import ti_run, ti_update_state
from airflow.api_fastapi.execution_api.routes.xcoms import set_xcom
from airflow.models.dag import DagModel
from airflow.models.log import Log
from airflow.models.taskinstance import TaskInstance
from airflow.models.taskinstancehistory import TaskInstanceHistory
from airflow.models.taskmap import TaskMap
from airflow.models.xcom import XComModel
from airflow.utils.session import create_session
from sqlalchemy import select, update

from airflow_sop_provider.contract import AttemptKey
from airflow_sop_provider.executors.airflow_states import (
    Output,
    OutputsRefused,
    Report,
    Superseded,
    UnexpectedAnswer,
    report,
    start,
)
from airflow_sop_provider.executors.group_commit import transaction
from airflow_sop_provider.executors.messages import Identity
from tests.executors.conftest import DAG, Queue

IDENTITY = Identity(hostname="host", unixname="user", pid=42)
AT = datetime(2026, 11, 25, 12, 0, tzinfo=UTC)
VALUE = {"text": "1", "list": [1, None, {"ä": 0.5}], "flag": True}
Rows = dict[str, list[dict[str, Any]]]

REPORTS = {
    "success": Report(state="success", at=AT),
    "output": Report(state="success", outputs=(Output(key="return_value", value=VALUE),), at=AT),
    "items": Report(state="success", outputs=(Output(key="return_value", value=[1, 2], mapped_length=2),), at=AT),
    "null": Report(state="success", outputs=(Output(key="return_value", value=None),), at=AT),
    "skipped": Report(state="skipped", at=AT),
    "failed": Report(state="failed", at=AT),
    "retry": Report(state="up_for_retry", retry_delay_seconds=2.0, retry_reason="r" * 900, at=AT),
    "more memory": Report(
        state="up_for_retry", outputs=(Output(key="sop_memory_bytes", value=1 << 29),), retry_delay_seconds=1.0,
        retry_reason="killed", at=AT,
    ),
    "asks people": Report(state="awaiting_input", wait_seconds=60.0),
    "asks people for ever": Report(state="awaiting_input"),
}  # fmt: skip


@pytest.fixture(scope="module")
def server() -> Iterator[httpx.Client]:
    """Airflow's Execution API, its application whole but for the network."""
    api = InProcessExecutionAPI()
    with httpx.Client(transport=api.transport, base_url="http://airflow") as client:
        yield client


def _over_http(server: httpx.Client, key: AttemptKey, said: Report) -> None:
    path = f"/task-instances/{key.task_instance_id}"
    body = {"state": "running", **IDENTITY.model_dump(), "start_date": datetime.now(UTC).isoformat()}
    server.patch(f"{path}/run", json=body).raise_for_status()
    for output in said.outputs:
        params = {} if output.mapped_length is None else {"mapped_length": output.mapped_length}
        where = f"/xcoms/{key.sop}/{key.run_id}/{key.step}/{output.key}"
        server.post(where, json=output.value, params=params).raise_for_status()
    body = said.payload().model_dump(mode="json", exclude_unset=True)
    server.patch(f"{path}/state", json=body).raise_for_status()


def _here(key: AttemptKey, said: Report) -> None:
    with transaction() as session:
        start(session, key.task_instance_id, IDENTITY)
    with transaction() as session:
        report(session, key, said)


def _rows(key: AttemptKey) -> Rows:
    """Return what Airflow has of a run's task, without what differs by its nature: whose it is and when it was."""
    found: Rows = {}
    with create_session() as session:
        for model in (TaskInstance, TaskInstanceHistory, XComModel, TaskMap, Log):
            mine = (model.dag_id == key.sop, model.run_id == key.run_id, model.task_id == key.step)
            rows = session.execute(select(model.__table__).where(*mine)).mappings()
            found[model.__tablename__] = sorted((_plain(row, key) for row in rows), key=str)
    return found


def _plain(row: Mapping[str, Any], key: AttemptKey) -> dict[str, Any]:
    return {name: _value(name, value, key) for name, value in row.items()}


def _value(name: str, value: Any, key: AttemptKey) -> Any:
    if name in ("id", "dag_run_id", "run_id"):
        return "the attempt's" if str(value) == key.task_instance_id else "another"
    if isinstance(value, datetime) and value.replace(tzinfo=UTC) != AT:
        return "a moment"
    if name in ("duration", "context_carrier", "task_instance_id"):
        return value is not None
    return value


@pytest.mark.parametrize("name", REPORTS)
def test_every_row_is_as_the_api_leaves_it(server: httpx.Client, queued: Queue, name: str) -> None:
    ours, theirs = queued(max_tries=2), queued(max_tries=2)
    _over_http(server, theirs, REPORTS[name])
    _here(ours, REPORTS[name])
    left = _rows(ours)
    assert left == _rows(theirs)
    (ti,) = left["task_instance"]
    assert ti["state"] == REPORTS[name].state
    assert [row["value"] for row in left["xcom"]] == [output.value for output in REPORTS[name].outputs]
    assert [row["event"] for row in left["log"]] == sorted(["running", REPORTS[name].state])
    assert len(left["task_instance_history"]) == (REPORTS[name].state == "up_for_retry")


def test_a_failure_ends_the_run_of_a_dag_with_fail_fast(server: httpx.Client, queued: Queue) -> None:
    with create_session() as session:
        session.execute(update(DagModel).where(DagModel.dag_id == DAG).values(fail_fast=True))
    try:
        ours, theirs = queued(), queued()
        _over_http(server, theirs, REPORTS["failed"])
        _here(ours, REPORTS["failed"])
        second = [_rows(key.model_copy(update={"step": "second"}))["task_instance"] for key in (ours, theirs)]
    finally:
        with create_session() as session:
            session.execute(update(DagModel).where(DagModel.dag_id == DAG).values(fail_fast=False))
    assert second[0] == second[1]
    assert second[0][0]["state"] == "skipped"


def test_the_context_is_what_the_api_answers(server: httpx.Client, queued: Queue) -> None:
    key = queued(max_tries=3)
    with transaction() as session:
        ours = start(session, key.task_instance_id, IDENTITY)
    body = {"state": "running", **IDENTITY.model_dump(), "start_date": datetime.now(UTC).isoformat()}
    theirs = server.patch(f"/task-instances/{key.task_instance_id}/run", json=body).json()
    assert ours["max_tries"] == theirs["max_tries"] == 3
    assert ours["dag_run"] == {name: theirs["dag_run"].get(name) for name in ours["dag_run"]}
    assert ours["dag_run"]["conf"] == {"number": 4}


def test_starting_is_repeated_by_one_identity_only(queued: Queue) -> None:
    key = queued()
    with transaction() as session:
        start(session, key.task_instance_id, IDENTITY)
        start(session, key.task_instance_id, IDENTITY)
    with pytest.raises(Superseded) as caught, transaction() as session:
        start(session, key.task_instance_id, IDENTITY.model_copy(update={"pid": 43}))
    assert caught.value.state == "running"


def test_what_is_over_or_gone_is_not_ours(queued: Queue) -> None:
    key = queued()
    _here(key, REPORTS["success"])
    with transaction() as session:
        report(session, key, REPORTS["success"])  # said twice: as it was
    with pytest.raises(Superseded) as caught, transaction() as session:
        report(session, key, REPORTS["failed"])
    assert caught.value.state == "success"
    gone = key.model_copy(update={"task_instance_id": "00000000-0000-0000-0000-000000000000"})
    for call in (lambda s: start(s, gone.task_instance_id, IDENTITY), lambda s: report(s, gone, REPORTS["success"])):
        with pytest.raises(Superseded) as caught, transaction() as session:
            call(session)
        assert caught.value.state is None


def test_outputs_that_cannot_be_expanded_are_refused_whole(queued: Queue, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__CORE__MAX_MAP_LENGTH", "1")
    key = queued()
    with transaction() as session:
        start(session, key.task_instance_id, IDENTITY)
    with pytest.raises(OutputsRefused, match="too large"), transaction() as session:
        report(session, key, REPORTS["items"])
    left = _rows(key)
    assert ([row["state"] for row in left["task_instance"]], left["xcom"]) == (["running"], [])


def test_a_value_that_the_database_cannot_keep_is_refused(queued: Queue) -> None:
    key = queued()
    with transaction() as session:
        start(session, key.task_instance_id, IDENTITY)
    said = Report(state="success", outputs=(Output(key="return_value", value={1, 2}),))
    with pytest.raises(OutputsRefused, match="set"), transaction() as session:
        report(session, key, said)
    assert _rows(key)["task_instance"][0]["state"] == "running"


def test_another_refusal_is_told_as_it_is(queued: Queue, monkeypatch: pytest.MonkeyPatch) -> None:
    from fastapi import HTTPException

    from airflow_sop_provider.executors import airflow_states

    def refuse(*_: object, **__: object) -> None:
        raise HTTPException(422, "bad")

    monkeypatch.setattr(airflow_states, "ti_update_state", refuse)
    key = queued()
    with pytest.raises(UnexpectedAnswer, match="422 bad"), transaction() as session:
        report(session, key, REPORTS["success"])


@pytest.mark.parametrize("said", REPORTS.values(), ids=REPORTS)
def test_the_api_would_take_a_report_for_what_it_is_meant_as(said: Report) -> None:
    tags = {get_args(one)[1].tag: get_args(one)[0] for one in get_args(get_args(TIStateUpdate)[0])}
    body = said.payload().model_dump(mode="json", exclude_unset=True)
    assert type(said.payload()) is tags[ti_state_discriminator(body)]
    assert len(body.get("retry_reason", "")) <= 500


@pytest.mark.parametrize(
    ("route", "parameters"),
    [
        (ti_run, ["task_instance_id", "ti_run_payload", "response", "session", "dag_bag", "services", "token"]),
        (ti_update_state, ["task_instance_id", "ti_patch_payload", "session", "dag_bag"]),
        (
            set_xcom,
            ["dag_id", "run_id", "task_id", "key", "session", "value", "map_index", "dag_result", "mapped_length"],
        ),
    ],
)
def test_the_routes_are_functions_with_these_parameters(route: Callable[..., Any], parameters: list[str]) -> None:
    assert list(inspect.signature(route).parameters) == parameters
    assert not inspect.iscoroutinefunction(route)
