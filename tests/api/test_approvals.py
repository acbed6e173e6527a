"""Approvals on Airflow's database: answers over HTTP and in Airflow's own request, judged by the same rules."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from airflow.api_fastapi.auth.managers.simple.user import SimpleAuthManagerUser
from airflow.models.dagrun import DagRun
from airflow.models.hitl import HITLDetail
from airflow.models.taskinstance import TaskInstance
from airflow.models.xcom import XComModel
from airflow.utils.session import create_session
from fastapi.testclient import TestClient
from sqlalchemy import select

from airflow_sop_provider.api.runner_auth import signing_key
from airflow_sop_provider.contract.approval import Settled
from airflow_sop_provider.contract.attempt import AttemptKey
from airflow_sop_provider.contract.payload import PAYLOAD_KEY, StepPayload
from airflow_sop_provider.engine.runner_tokens import runner_token
from airflow_sop_provider.runs.approval_guard import missing_approval
from airflow_sop_provider.runs.approvals import ask_people, settle
from airflow_sop_provider.runs.closing import close_run
from airflow_sop_provider.store.attempts import AttemptBegin, AttemptEnd, begin_attempt, end_attempt
from airflow_sop_provider.store.base import utc_now
from airflow_sop_provider.store.executions import find_execution
from airflow_sop_provider.store.tables import ApprovalRow, OutboxRow
from tests.api.conftest import known_to_airflow
from tests.store.facts import entries_of

V1 = "/api/v1"
ROLES = {"anna": "user", "bob": "user", "carl": "user", "vera": "viewer", "admin": "admin"}

SOP = """\
sop: {name}
version: 1.0.0
title: A chain that somebody signs
inputs:
  number: {{type: integer, default: 1}}
steps:
  - id: first
    compute: {{value: "inputs.number + 1"}}
  - id: sign
    needs: [first]
    approval: {approval}
  - id: after
    needs: [first, sign]
    compute: {{value: "steps.first.value"}}
"""
TERMS = {
    "api-signed": "{by: [treasury, carl], not_by: requester, quorum: 2, meaning: I have looked}",
    "api-escalating": "{by: [treasury], expires: 1h}",
    "api-blocking": "{by: [treasury], expires: 1h, on_expiry: block}",
    "api-failing": "{by: [treasury], expires: 1h, on_expiry: fail}",
    "api-routed": "{by: [user], on_reject: continue}",
}


@pytest.fixture(scope="module")
def signed(chain: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("signed")
    for name, approval in TERMS.items():
        (folder / f"{name}.yaml").write_text(SOP.format(name=name, approval=approval))
    known_to_airflow(folder, "signed", tmp_path_factory.mktemp("storage"))


@pytest.fixture(autouse=True)
def _people(monkeypatch: pytest.MonkeyPatch) -> None:
    users = ",".join(f"{name}:{role}" for name, role in ROLES.items())
    monkeypatch.setenv("AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS", users)
    monkeypatch.setenv("AIRFLOW__SOP__APPROVER_GROUPS", '{"treasury": ["anna", "bob"]}')


@pytest.fixture
def as_user(client: TestClient) -> Callable[[str], TestClient]:
    def make(name: str) -> TestClient:
        user = SimpleAuthManagerUser(username=name, role=ROLES[name])
        token = client.app.state.auth_manager.generate_jwt(user)  # type: ignore[attr-defined]
        return TestClient(client.app, headers={"Authorization": f"Bearer {token}"})

    return make


@dataclass
class Waiting:
    """A task that waits for people, as the executor leaves it."""

    sop: str
    run_id: str
    task: UUID
    key: AttemptKey
    payload: StepPayload

    @property
    def approval(self) -> ApprovalRow:
        with create_session() as session:
            query = select(ApprovalRow).where(ApprovalRow.task_instance_id == str(self.task)).order_by(ApprovalRow.id)
            row = list(session.scalars(query))[-1]
            session.expunge(row)
            return row

    @property
    def path(self) -> str:
        return f"{V1}/sops/{self.sop}/approvals/{self.approval.id}"

    @property
    def request(self) -> HITLDetail:
        with create_session() as session:
            return session.get_one(HITLDetail, self.task)

    def state(self) -> str:
        with create_session() as session:
            return str(session.scalar(select(TaskInstance.state).where(TaskInstance.id == self.task)))

    def mark(self, state: str) -> None:
        """Set the approval's task to this state, as a person may who edits the DAG's runs."""
        with create_session() as session:
            session.get_one(TaskInstance, self.task).state = state

    def what_is_missing(self) -> str | None:
        """Why the step after it may not start."""
        with create_session() as session:
            query = select(TaskInstance).where(
                TaskInstance.dag_id == self.sop, TaskInstance.run_id == self.run_id, TaskInstance.task_id == "after"
            )
            task = session.scalars(query).one()
            key = self.key.model_copy(update={"step": "after", "task_instance_id": str(task.id)})
            return missing_approval(session, key, StepPayload.model_validate(task.executor_config[PAYLOAD_KEY]))

    def park(self) -> None:
        with create_session() as session:
            task = session.get_one(TaskInstance, self.task)
            task.state, task.next_method, task.next_kwargs = "awaiting_input", "execute_complete", {}

    def respond(self, name: str, choice: str = "Approve", **given: str) -> Settled:
        """Answer as Airflow's own endpoint writes it, whoever that is, and judge it as the executor does."""
        with create_session() as session:
            detail = session.get_one(HITLDetail, self.task)
            assert detail.responded_at is None
            detail.responded_by = {"id": name, "name": name}
            detail.responded_at, detail.chosen_options, detail.params_input = utc_now(), [choice], given
        return self.settle()

    def settle(self) -> Settled:
        with create_session() as session:
            return settle(session, self.key, self.payload)

    def ask(self) -> Settled:
        with create_session() as session:
            return ask_people(session, self.key, self.payload, {"title": "Sign it", "question": "Go?"})

    def result_of(self, step: str, value: Any) -> None:
        where = {"dag_id": self.sop, "run_id": self.run_id, "task_id": step}
        with create_session() as session:
            XComModel.set("return_value", value, **where, serialize=False, session=session)

    def result_of_first(self, value: Any) -> None:
        self.result_of("first", value)

    def succeed(self, name: str = "anna", choice: str = "Approve") -> dict[str, Any]:
        """Answer, and end the task as the executor does."""
        settled = self.respond(name, choice)
        assert settled.outputs is not None
        self.result_of("sign", settled.outputs)
        self.mark("success")
        return settled.outputs

    def events(self) -> list[str]:
        with create_session() as session:
            entries = entries_of(session, f"{self.sop}/{self.run_id}")
        return [entry.metadata["event"] for entry in entries if entry.kind == "approval"]

    def let_time_pass(self) -> None:
        with create_session() as session:
            session.get_one(ApprovalRow, self.approval.id).expires_at = utc_now() - timedelta(seconds=1)


@pytest.fixture
def wait_for(signed: None, as_user: Callable[[str], TestClient]) -> Iterator[Callable[..., Waiting]]:
    def make(sop: str = "api-signed", requester: str = "carl") -> Waiting:
        made = as_user(requester).post(f"{V1}/sops/{sop}/executions", json={})
        run_id = made.json()["run_id"]
        with create_session() as session:
            query = select(TaskInstance).where(
                TaskInstance.dag_id == sop, TaskInstance.run_id == run_id, TaskInstance.task_id == "sign"
            )
            task = session.scalars(query).one()
            key = AttemptKey(
                sop=sop, run_id=run_id, step="sign", map_index=-1, attempt=1, task_instance_id=str(task.id)
            )
            payload = StepPayload.model_validate(task.executor_config[PAYLOAD_KEY])
            waiting = Waiting(sop, run_id, task.id, key, payload)
        waiting.result_of_first({"value": 2})
        waiting.ask()
        waiting.park()
        return waiting

    return make


def answer(client: TestClient, waiting: Waiting, choice: str = "approved", **body: Any) -> Any:
    return client.post(f"{waiting.path}/answers", json={"choice": choice, **body})


def test_a_quorum_of_named_people_who_are_not_the_requester(wait_for, as_user) -> None:
    waiting = wait_for()
    assert {one["id"] for one in waiting.request.assignees} == {"anna", "bob"}, "not carl, who triggered it"
    refused = answer(as_user("carl"), waiting)
    assert (refused.status_code, "triggered" in refused.json()["detail"]) == (403, True)
    first = answer(as_user("anna"), waiting, comment="fine")
    assert first.status_code == 200
    assert (first.json()["state"], first.json()["refusal"][:4]) == ("waiting", "anna")
    assert waiting.state() == "awaiting_input"
    shown = waiting.request
    assert (shown.subject, [one["id"] for one in shown.assignees]) == ("Sign it (1 of 2)", ["bob"])
    assert "anna approved at" in shown.body
    again = answer(as_user("anna"), waiting)
    assert (again.status_code, "already" in again.json()["detail"]) == (403, True)
    last = answer(as_user("bob"), waiting, meaning="I answer for it")
    assert [one["meaning"] for one in last.json()["answers"]] == ["I have looked", "I answer for it"]
    assert last.json()["state"] == "approved"
    assert (waiting.state(), waiting.request.responded_by["name"]) == ("scheduled", "bob")
    settled = waiting.settle()
    assert settled.outputs is not None
    assert (settled.state, settled.failed, settled.outputs["by"]) == ("approved", False, ["anna", "bob"])
    assert waiting.events() == ["asked", "refused", "answered", "refused", "answered", "approved"]
    late = answer(as_user("bob"), waiting)
    assert late.status_code == 409


@pytest.mark.parametrize("name", ["carl", "vera", "admin", "mallory"])
def test_an_answer_in_airflows_request_by_somebody_else_changes_nothing(wait_for, name: str) -> None:
    waiting = wait_for()
    settled = waiting.respond(name)
    assert (settled.state, settled.outputs) == ("waiting", None)
    assert waiting.request.responded_at is None, "the request is open again"
    assert waiting.events() == ["asked", "refused"]


def test_the_same_person_twice_in_airflows_request_is_one(wait_for) -> None:
    waiting = wait_for()
    assert waiting.respond("anna", comment="fine", meaning="reviewed").state == "waiting"
    assert waiting.respond("anna").state == "waiting"
    assert waiting.events() == ["asked", "answered", "refused"]
    settled = waiting.respond("bob")
    assert settled.outputs is not None
    assert [(one["by"], one["comment"], one["meaning"]) for one in settled.outputs["answers"]] == [
        ("anna", "fine", "reviewed"), ("bob", None, "I have looked"),
    ]  # fmt: skip


def test_an_answer_in_airflow_and_one_here_make_a_quorum(wait_for, as_user) -> None:
    waiting = wait_for()
    with create_session() as session:  # answered there, and nobody has judged it yet
        detail = session.get_one(HITLDetail, waiting.task)
        detail.responded_by, detail.responded_at = {"id": "anna", "name": "anna"}, utc_now()
        detail.chosen_options = ["Approve"]
    assert answer(as_user("bob"), waiting).json()["state"] == "approved"
    assert waiting.settle().state == "approved"


def test_a_rejection_fails_the_step(wait_for, as_user) -> None:
    waiting = wait_for()
    assert answer(as_user("anna"), waiting, "rejected", comment="no").json()["state"] == "rejected"
    settled = waiting.settle()
    assert (settled.failed, settled.message) == (True, "sign is rejected by anna")


def test_a_rejection_is_a_choice_where_the_sop_goes_on(wait_for) -> None:
    settled = wait_for("api-routed").respond("bob", "Reject")
    assert settled.outputs is not None
    assert (settled.failed, settled.outputs["choice"]) == (False, "rejected")


def test_a_role_of_the_auth_manager_names_people(wait_for) -> None:
    waiting = wait_for("api-routed")
    assert {one["id"] for one in waiting.request.assignees} == {"anna", "bob", "carl"}


@pytest.mark.parametrize("way", ["airflow", "engine"])
def test_a_result_that_changed_needs_a_new_approval(wait_for, as_user, way: str) -> None:
    waiting = wait_for("api-routed")
    waiting.result_of_first({"value": 3})
    if way == "airflow":
        assert waiting.respond("anna").state == "void"
    else:
        refused = answer(as_user("anna"), waiting)
        assert (refused.status_code, "changed" in refused.json()["detail"]) == (409, True)
        assert waiting.state() == "scheduled", "the task goes on, to ask anew"
        assert waiting.settle().state == "void"
    assert waiting.ask().state == "waiting"
    assert '"value": 3' in waiting.request.body
    assert waiting.request.responded_at is None
    assert waiting.respond("anna").state == "approved"


def test_an_approval_does_not_survive_a_change_between_decision_and_use(wait_for, as_user) -> None:
    waiting = wait_for("api-routed")
    answer(as_user("anna"), waiting)
    with create_session() as session:
        run = session.scalars(select(DagRun).where(DagRun.run_id == waiting.run_id)).one()
        run.conf = {"number": 7}
    assert waiting.settle().state == "void"


def test_a_cleared_step_keeps_its_approval_while_nothing_changed(wait_for) -> None:
    waiting = wait_for("api-routed")
    assert waiting.respond("anna").state == "approved"
    waiting.key = waiting.key.model_copy(update={"task_instance_id": str(UUID(int=7)), "attempt": 2})
    assert waiting.ask().state == "approved"
    assert waiting.events()[-1] == "stands"


@pytest.mark.parametrize(
    ("sop", "settled", "answered"),
    [
        ("api-escalating", ("waiting", False), 200),
        ("api-blocking", ("waiting", False), 409),
        ("api-failing", ("expired", True), 409),
    ],
)
def test_expiry(wait_for, as_user, sop: str, settled: tuple[str, bool], answered: int) -> None:
    waiting = wait_for(sop)
    assert waiting.settle().wait_seconds == pytest.approx(3600, abs=600)
    waiting.let_time_pass()
    found = waiting.settle()
    assert (found.state, found.failed, found.wait_seconds) == (*settled, None)
    with create_session() as session:
        assert [row.kind for row in session.scalars(select(OutboxRow))] == ["approval"]
    if sop != "api-failing":
        assert "The time to answer is over" in waiting.request.body
    assert answer(as_user("anna"), waiting).status_code == answered


def test_expiry_that_an_answer_finds_first(wait_for, as_user) -> None:
    waiting = wait_for("api-failing")
    waiting.let_time_pass()
    refused = answer(as_user("anna"), waiting)
    assert (refused.status_code, "the time to answer is over" in refused.json()["detail"]) == (409, True)
    assert (waiting.state(), waiting.request.responded_by) == ("scheduled", None)
    assert waiting.settle().failed


def test_a_task_that_was_cleared_takes_no_answer(wait_for, as_user, set_tasks) -> None:
    waiting = wait_for()
    set_tasks(waiting.sop, waiting.run_id, sign=None)
    refused = answer(as_user("anna"), waiting)
    assert (refused.status_code, "cleared or ended" in refused.json()["detail"]) == (409, True)


def test_an_execution_that_is_over_waits_for_nobody(wait_for) -> None:
    waiting = wait_for()
    with create_session() as session:
        session.scalars(select(DagRun).where(DagRun.run_id == waiting.run_id)).one().state = "failed"
    with create_session() as session:
        assert close_run(session, find_execution(session, waiting.sop, waiting.run_id))
    assert waiting.approval.state == "void"


def test_a_step_after_an_approval_that_was_given_starts(wait_for) -> None:
    waiting = wait_for("api-routed")
    waiting.succeed()
    assert waiting.what_is_missing() is None


@pytest.mark.parametrize("state", ["success", "skipped"])
def test_an_approval_that_was_marked_by_hand_is_none(wait_for, state: str) -> None:
    waiting = wait_for("api-routed")
    waiting.mark(state)
    assert str(waiting.what_is_missing()).startswith(f"`sign` is {state} in Airflow, but nobody approved it")


def test_a_rejection_that_fails_the_step_is_none_either(wait_for) -> None:
    waiting = wait_for()
    waiting.respond("anna", "Reject")
    waiting.mark("success")
    assert "nobody approved it" in str(waiting.what_is_missing())


def test_an_approval_of_a_result_that_has_changed_is_none_for_later_steps(wait_for) -> None:
    waiting = wait_for("api-routed")
    waiting.succeed()
    waiting.result_of_first({"value": 3})
    assert "has changed since" in str(waiting.what_is_missing())


def test_outputs_that_were_changed_by_hand_are_no_approval(wait_for) -> None:
    waiting = wait_for("api-routed")
    outputs = waiting.succeed(choice="Reject")
    assert waiting.what_is_missing() is None
    waiting.result_of("sign", {**outputs, "choice": "approved"})
    assert "not what people answered" in str(waiting.what_is_missing())


def test_an_approval_that_the_sop_skipped_is_not_needed(wait_for, set_tasks) -> None:
    waiting = wait_for("api-routed")
    waiting.mark("skipped")
    set_tasks(waiting.sop, waiting.run_id, first="skipped")
    assert waiting.what_is_missing() is None
    set_tasks(waiting.sop, waiting.run_id, first="success")
    with create_session() as session:
        execution = find_execution(session, waiting.sop, waiting.run_id)
        begin_attempt(session, execution, AttemptBegin(key=waiting.key, kind="step"))
        end_attempt(session, execution, AttemptEnd(key=waiting.key, state="skipped"))
    assert waiting.what_is_missing() is None


def test_lists_show_what_the_caller_may_see_and_answer(wait_for, as_user, client) -> None:
    one, two = wait_for(), wait_for("api-routed")
    page = as_user("bob").get(f"{V1}/approvals", params={"state": "waiting"}).json()
    assert [(found["sop"], found["refusal"]) for found in page["approvals"]] == [(two.sop, None), (one.sop, None)]
    first = as_user("bob").get(f"{V1}/approvals", params={"limit": 1}).json()
    assert first["approvals"][0]["run_id"] == two.run_id
    rest = as_user("bob").get(f"{V1}/approvals", params={"before": first["next_before"]}).json()
    assert ([found["run_id"] for found in rest["approvals"]], rest["next_before"]) == ([one.run_id], None)
    mine = as_user("vera").get(f"{V1}/approvals", params={"mine": True}).json()
    assert mine["approvals"] == []
    assert as_user("bob").get(f"{V1}/approvals", params={"sop": "nothing"}).json()["approvals"] == []
    assert as_user("bob").get(one.path).json()["subject"] == one.approval.subject_digest


def test_who_may_do_what(wait_for, as_user, client) -> None:
    waiting = wait_for()
    assert client.get(f"{V1}/approvals").status_code == 401
    assert client.get(waiting.path).status_code == 401
    assert answer(client, waiting).status_code == 401
    assert as_user("vera").get(waiting.path).status_code == 200
    assert answer(as_user("vera"), waiting).status_code == 403
    assert answer(as_user("admin"), waiting).status_code == 403, "an administrator is not named either"
    assert as_user("anna").post(f"{V1}/sops/api-routed/approvals/{waiting.approval.id}/answers",
                                json={"choice": "approved"}).status_code == 404  # fmt: skip
    assert answer(as_user("anna"), waiting, "maybe").status_code == 422
    assert waiting.approval.state == "waiting"


@pytest.fixture
def worker(client: TestClient) -> Callable[..., TestClient]:
    """Give a client with the token that a worker makes for its task; ``changes`` make it another's."""

    def make(waiting: Waiting, **changes: Any) -> TestClient:
        key = waiting.key.model_copy(update=changes)
        token = runner_token(key, signing_key(), timeout_seconds=60, now=utc_now())
        return TestClient(client.app, headers={"Authorization": f"Bearer {token}"})

    return make


def test_a_worker_of_another_executor_asks_and_has_answers_judged(wait_for, worker) -> None:
    waiting = wait_for("api-routed")
    with create_session() as session:
        task = session.get_one(TaskInstance, waiting.task)
        task.state, task.try_number = "running", 1
    asked = worker(waiting).post(f"{V1}/worker/approval/ask", json={"title": "Sign it", "question": "Go?"})
    assert Settled.model_validate(asked.json()).state == "waiting"
    with create_session() as session:
        detail = session.get_one(HITLDetail, waiting.task)
        detail.responded_by, detail.responded_at = {"id": "anna", "name": "anna"}, utc_now()
        detail.chosen_options = ["Approve"]
    settled = Settled.model_validate(worker(waiting).post(f"{V1}/worker/approval/settle").json())
    assert (settled.state, settled.outputs is not None) == ("approved", True)
    assert worker(waiting).post(f"{V1}/worker/approval/missing").json() == {"missing": None}


@pytest.mark.parametrize("what", ["ask", "settle", "missing"])
def test_a_worker_is_known_by_the_token_of_its_own_running_attempt_only(wait_for, worker, client, admin, what) -> None:
    waiting = wait_for("api-routed")
    path = f"{V1}/worker/approval/{what}"
    assert worker(waiting).post(path, json={"title": "x"}).status_code == 401, "it does not run"
    with create_session() as session:
        task = session.get_one(TaskInstance, waiting.task)
        task.state, task.try_number = "running", 1
    for changes in (
        {"attempt": 2},
        {"step": "after"},
        {"run_id": "other"},
        {"map_index": 3},
        {"task_instance_id": "x"},
    ):
        assert worker(waiting, **changes).post(path, json={"title": "x"}).status_code == 401, changes
    for caller in (client, admin):
        assert caller.post(path, json={"title": "x"}).status_code == 401


def test_a_task_that_asks_nobody_cannot_be_settled(wait_for, worker) -> None:
    waiting = wait_for("api-routed")
    with create_session() as session:
        query = select(TaskInstance).where(TaskInstance.run_id == waiting.run_id, TaskInstance.task_id == "after")
        task = session.scalars(query).one()
        task.state, task.try_number = "running", 1
        other = str(task.id)
    caller = worker(waiting, step="after", task_instance_id=other)
    assert caller.post(f"{V1}/worker/approval/settle").status_code == 409
    assert caller.post(f"{V1}/worker/approval/missing").json() == {"missing": None}, "nothing has begun or ended yet"
