"""An approval where another executor carries the step: the worker asks the engine, over a socket, and judges nothing.

The runner's part is that of every step (`test_execute`) and left out here.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.models.hitl import HITLDetail
from airflow.models.taskinstance import TaskInstance
from airflow.providers.standard.operators.hitl import HITLOperator
from airflow.sdk.exceptions import AirflowFailException, TaskAwaitingInput
from airflow.utils.session import create_session
from sqlalchemy import select

from airflow_sop_provider.operators.approval_engine import ApprovalEngineError
from airflow_sop_provider.operators.sop_approval import SopApprovalOperator
from airflow_sop_provider.operators.sop_step import SopStepOperator
from airflow_sop_provider.store.base import utc_now
from tests.api.conftest import chain, client, empty_tables, set_tasks
from tests.api.test_approvals import Waiting, _people, as_user, signed, wait_for
from tests.client.conftest import url

__all__ = ["_people", "as_user", "chain", "client", "empty_tables", "set_tasks", "signed", "url", "wait_for"]


class Worker:
    """A worker of another executor, that carries the approval of `Waiting`."""

    def __init__(self, waiting: Waiting) -> None:
        self._waiting = waiting
        self.operator = SopApprovalOperator(
            **SopStepOperator.task_arguments(waiting.payload), task_id="sign", subject="Sign", options=["Approve"],
            execution_timeout=timedelta(minutes=5),
        )  # fmt: skip

    @property
    def context(self) -> Any:
        ti = SimpleNamespace(
            dag_id=self._waiting.sop, run_id=self._waiting.run_id, task_id="sign", map_index=-1, try_number=1,
            id=self._waiting.task,
        )  # fmt: skip
        return {"ti": ti}

    def runs(self) -> None:
        """Airflow has the task running."""
        with create_session() as session:
            task = session.get_one(TaskInstance, self._waiting.task)
            task.state, task.try_number = "running", 1

    def answered(self, name: str, choice: str = "Approve") -> Any:
        """Somebody answers in Airflow, which has the worker go on."""
        with create_session() as session:
            detail = session.get_one(HITLDetail, self._waiting.task)
            detail.responded_by, detail.responded_at = {"id": name, "name": name}, utc_now()
            detail.chosen_options = [choice]
        self.runs()
        return self.operator.execute_complete(self.context, {"chosen_options": ["Approve"]})


@pytest.fixture
def work(
    wait_for: Callable[..., Waiting], url: str, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., tuple[Waiting, Worker]]:
    monkeypatch.setenv("AIRFLOW__SOP__ENGINE_URL", f"{url}/sop")
    monkeypatch.setattr(SopStepOperator, "execute", lambda self, context: {"title": "Sign it"})

    def make(sop: str) -> tuple[Waiting, Worker]:
        waiting = wait_for(sop)
        worker = Worker(waiting)
        worker.runs()
        return waiting, worker

    return make


def test_airflow_takes_it_for_a_task_with_a_human_in_the_loop(work) -> None:
    _, worker = work("api-routed")
    assert isinstance(worker.operator, HITLOperator)
    assert worker.operator.execution_timeout == timedelta(minutes=5)
    assert worker.operator.response_timeout is None, "the time to answer is the engine's to know"


def test_it_is_parked_until_the_engine_says_that_it_is_decided(work) -> None:
    waiting, worker = work("api-signed")
    with pytest.raises(TaskAwaitingInput) as parked:
        worker.operator.execute(worker.context)
    assert (parked.value.method_name, parked.value.timeout) == ("execute_complete", None)
    for name in ("carl", "anna", "anna"):
        with pytest.raises(TaskAwaitingInput):
            worker.answered(name)
    outputs = worker.answered("bob")
    assert (outputs["choice"], outputs["by"]) == ("approved", ["anna", "bob"])
    assert waiting.events() == ["asked", "refused", "answered", "refused", "answered", "approved"]


def test_the_time_to_answer_goes_to_airflow(work) -> None:
    _, worker = work("api-failing")
    with pytest.raises(TaskAwaitingInput) as parked:
        worker.operator.execute(worker.context)
    assert timedelta(minutes=50) < parked.value.timeout <= timedelta(hours=1)


def test_a_rejection_fails_it_for_good(work) -> None:
    _, worker = work("api-failing")
    with pytest.raises(AirflowFailException, match="rejected by anna"):
        worker.answered("anna", "Reject")


def test_a_change_has_it_asked_anew(work) -> None:
    waiting, worker = work("api-routed")
    waiting.result_of_first({"value": 3})
    with pytest.raises(TaskAwaitingInput):
        worker.answered("anna")
    assert waiting.events() == ["asked", "void", "asked"]


def test_without_an_answer_of_the_engine_it_is_tried_again_and_passes_nothing(work, monkeypatch) -> None:
    waiting, worker = work("api-routed")
    waiting.mark("success")
    with pytest.raises(ApprovalEngineError, match="401"):
        worker.operator.execute(worker.context)
    monkeypatch.setenv("AIRFLOW__SOP__ENGINE_URL", "http://127.0.0.1:9/sop")
    with pytest.raises(ApprovalEngineError, match="does not answer"):
        worker.operator.execute(worker.context)


def test_a_later_step_does_not_start_without_it(wait_for, url, monkeypatch) -> None:
    monkeypatch.setenv("AIRFLOW__SOP__ENGINE_URL", f"{url}/sop")
    waiting = wait_for("api-routed")
    waiting.mark("success")
    with create_session() as session:
        query = select(TaskInstance).where(TaskInstance.run_id == waiting.run_id, TaskInstance.task_id == "after")
        task = session.scalars(query).one()
        task.state, task.try_number = "running", 1
        config, number = task.executor_config, task.id
    operator = SopStepOperator(task_id="after", executor_config=config)
    ti = SimpleNamespace(
        dag_id=waiting.sop, run_id=waiting.run_id, task_id="after", map_index=None, try_number=1, id=number
    )
    with pytest.raises(AirflowFailException, match="nobody approved it"):
        operator.execute({"ti": ti})
