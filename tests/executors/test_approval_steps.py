"""An approval as the child carries it: a real process as runner, Airflow's own tables, answers by Airflow's code."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from airflow.api_fastapi.auth.managers.simple.user import SimpleAuthManagerUser
from airflow.api_fastapi.core_api.datamodels.hitl import UpdateHITLDetailPayload
from airflow.api_fastapi.core_api.routes.public.hitl import update_hitl_detail
from airflow.models.hitl import HITLDetail
from airflow.models.taskinstance import TaskInstance
from airflow.utils.session import create_session
from fastapi import HTTPException
from sqlalchemy import select

from airflow_sop_provider.airflow_settings import read_settings
from airflow_sop_provider.contract.attempt import AttemptKey
from airflow_sop_provider.contract.payload import PAYLOAD_KEY
from airflow_sop_provider.executors.attempt_carrier import AttemptCarrier, Services
from airflow_sop_provider.executors.group_commit import GroupCommit
from airflow_sop_provider.executors.ledger import Ledger
from airflow_sop_provider.executors.messages import AttemptMessage, FinishedMessage, Identity
from airflow_sop_provider.executors.metadata_db import MetadataDb
from airflow_sop_provider.runs.tasks import outputs_of_run
from airflow_sop_provider.runtimes import open_runtime
from tests.airflow_env import airflow_database
from tests.api.conftest import chain, client, empty_tables
from tests.api.test_approvals import Waiting, _people, as_user, signed, wait_for

__all__ = ["_people", "airflow_database", "as_user", "chain", "client", "empty_tables", "signed", "wait_for"]


class Carrying:
    """The executor's child for one task at a time, and Airflow's scheduler where it has to queue a task."""

    def __init__(self, services: Services) -> None:
        self._services = services

    async def carry(self, waiting: Waiting, step: str = "sign") -> FinishedMessage:
        with create_session() as session:
            query = select(TaskInstance).where(TaskInstance.run_id == waiting.run_id, TaskInstance.task_id == step)
            task = session.scalars(query).one()
            key = AttemptKey(
                sop=waiting.sop, run_id=waiting.run_id, step=step, attempt=1, task_instance_id=str(task.id)
            )
            payload = task.executor_config[PAYLOAD_KEY]
        identity = Identity(hostname="here", unixname="us", pid=1)
        carrier = AttemptCarrier(
            AttemptMessage(key=key, payload=payload, log_path=f"{step}.log", identity=identity), self._services
        )
        finished = await carrier.carry()
        await carrier.clean_up()
        return finished

    def queue(self, waiting: Waiting, step: str = "sign", *, afresh: bool = False) -> None:
        with create_session() as session:
            query = select(TaskInstance).where(TaskInstance.run_id == waiting.run_id, TaskInstance.task_id == step)
            task = session.scalars(query).one()
            task.state, task.try_number = "queued", 1
            if afresh:
                task.next_method = task.next_kwargs = None


@pytest.fixture
async def carrying(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, empty_tables: None) -> AsyncIterator[Carrying]:
    monkeypatch.setenv("AIRFLOW__LOGGING__BASE_LOG_FOLDER", str(tmp_path / "logs"))
    settings = replace(read_settings(), work_folder=tmp_path / "attempts", engine_url=None)
    commit, database = GroupCommit(), MetadataDb()
    runtime = open_runtime("local", settings.of_runtimes())
    services = Services(
        ledger=Ledger(commit), database=database, runtime=runtime, settings=settings, token=lambda key, seconds: "t"
    )
    yield Carrying(services)
    await runtime.close()
    commit.close()
    database.close()


def respond(waiting: Waiting, name: str, choice: str = "Approve", **given: Any) -> None:
    """Answer through the function behind Airflow's own endpoint."""
    body = UpdateHITLDetailPayload(chosen_options=[choice], params_input=given)
    user = SimpleAuthManagerUser(username=name, role="user")
    with create_session() as session:
        update_hitl_detail(waiting.sop, waiting.run_id, "sign", body, user, session, -1)


def forget_assignees(waiting: Waiting) -> None:
    """Have Airflow let everybody answer, as it does where users are kept elsewhere."""
    with create_session() as session:
        session.get_one(HITLDetail, waiting.task).assignees = []


async def test_it_is_asked_parked_answered_and_goes_on(carrying: Carrying, wait_for: Callable[..., Waiting]) -> None:
    waiting = wait_for()
    for _ in range(2):  # asked by one whose child was killed before it was parked: the question is the same
        carrying.queue(waiting, afresh=True)
        assert (await carrying.carry(waiting)).state == "reported"
        assert waiting.state() == "awaiting_input"
    assert waiting.events() == ["asked"]
    again = await carrying.carry(waiting)
    assert (again.state, waiting.state()) == ("reported", "awaiting_input"), "killed after it was parked"

    with pytest.raises(HTTPException) as refused:
        respond(waiting, "carl")
    assert refused.value.status_code == 403
    for name in ("carl", "anna", "anna"):
        forget_assignees(waiting)
        respond(waiting, name, comment="fine")
        assert waiting.state() == "scheduled"
        carrying.queue(waiting)
        await carrying.carry(waiting)
        assert waiting.state() == "awaiting_input"
    assert waiting.events() == ["asked", "refused", "answered", "refused"]
    respond(waiting, "bob")
    carrying.queue(waiting)
    await carrying.carry(waiting)
    assert waiting.state() == "success"
    with create_session() as session:
        outputs = outputs_of_run(session, waiting.sop, waiting.run_id, ["sign"])["sign"]
    assert (outputs["choice"], outputs["by"]) == ("approved", ["anna", "bob"])

    carrying.queue(waiting, "after")
    await carrying.carry(waiting, "after")
    with create_session() as session:
        assert outputs_of_run(session, waiting.sop, waiting.run_id, ["after"]) == {"after": {"value": 2}}


async def test_a_rejection_fails_the_step_for_good(carrying: Carrying, wait_for: Callable[..., Waiting]) -> None:
    waiting = wait_for()
    respond(waiting, "bob", "Reject")
    carrying.queue(waiting)
    await carrying.carry(waiting)
    assert (waiting.state(), waiting.approval.state) == ("failed", "rejected")


async def test_a_change_has_the_step_carried_out_again(carrying: Carrying, wait_for: Callable[..., Waiting]) -> None:
    waiting = wait_for("api-routed")
    waiting.result_of_first({"value": 3})
    respond(waiting, "anna")
    carrying.queue(waiting)
    await carrying.carry(waiting)
    assert (waiting.state(), waiting.approval.state) == ("awaiting_input", "waiting")
    assert '"value": 3' in waiting.request.body
    assert waiting.events() == ["asked", "void", "asked"]


async def test_a_step_after_an_approval_that_was_marked_by_hand_fails_before_it_starts(
    carrying: Carrying, wait_for: Callable[..., Waiting], tmp_path: Path
) -> None:
    waiting = wait_for("api-routed")
    waiting.mark("success")
    carrying.queue(waiting, "after")
    await carrying.carry(waiting, "after")
    with create_session() as session:
        query = select(TaskInstance).where(TaskInstance.run_id == waiting.run_id, TaskInstance.task_id == "after")
        assert session.scalars(query).one().state == "failed"
    assert "nobody approved it" in (tmp_path / "logs" / "after.log").read_text()
