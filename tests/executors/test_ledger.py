"""An attempt's begin and end: Airflow's state and the engine's facts together, on the real tables of both."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from uuid import UUID

import pytest
from airflow.models.dagrun import DagRun
from airflow.models.taskinstance import TaskInstance
from airflow.models.xcom import XComModel
from airflow.utils.session import create_session
from sqlalchemy import delete, select, update

from airflow_sop_provider.contract import AttemptKey
from airflow_sop_provider.executors import ledger as ledger_module
from airflow_sop_provider.executors.airflow_states import Output, OutputsRefused, Report, Superseded
from airflow_sop_provider.executors.group_commit import GroupCommit
from airflow_sop_provider.executors.ledger import Begun, Ledger, RecordingError
from airflow_sop_provider.executors.messages import Identity
from airflow_sop_provider.executors.metadata_db import MetadataDb
from airflow_sop_provider.executors.upstream import MEMORY_XCOM_KEY
from airflow_sop_provider.store.attempts import AttemptBegin, AttemptEnd, find_attempt
from airflow_sop_provider.store.tables import metadata
from tests.executors.conftest import Queue

IDENTITY = Identity(hostname="host", unixname="user", pid=42)
SUCCESS = Report(state="success", outputs=(Output(key="return_value", value={"n": 1}),))


@pytest.fixture
def ledger(airflow_with_sop: str) -> Iterator[Ledger]:
    commit = GroupCommit()
    yield Ledger(commit)
    commit.close()
    with create_session() as session:
        for table in reversed(metadata.sorted_tables):
            session.execute(delete(table))


async def _begin(ledger: Ledger, key: AttemptKey, **options: Any) -> Begun:
    fact = AttemptBegin(key=key, kind="step", runtime="local")
    return await ledger.begin(key, IDENTITY, fact, **{"reads": (), "states": False, **options})


def _ended(key: AttemptKey, state: Any = "succeeded", **values: Any) -> AttemptEnd:
    return AttemptEnd(key=key, state=state, **values)


def _states(key: AttemptKey) -> tuple[str | None, str | None]:
    """Return how Airflow and how the engine have the attempt."""
    with create_session() as session:
        ti = session.scalar(select(TaskInstance.state).where(TaskInstance.id == UUID(key.task_instance_id)))
        attempt = find_attempt(session, key)
        return ti, None if attempt is None else attempt.state


def _examined(key: AttemptKey, *, now: bool) -> bool:
    """Whether the scheduler has examined the run and was not nudged since; ``now``: it has, at this moment."""
    mine = (DagRun.dag_id == key.sop, DagRun.run_id == key.run_id)
    with create_session() as session:
        if now:
            session.execute(update(DagRun).where(*mine).values(last_scheduling_decision=DagRun.run_after))
        return session.scalar(select(DagRun.last_scheduling_decision).where(*mine)) is not None


async def test_both_know_of_a_begin_and_of_an_end(ledger: Ledger, queued: Queue) -> None:
    key = queued()
    begun = await _begin(ledger, key)
    assert begun.context["dag_run"]["conf"] == {"number": 4}
    assert _states(key) == ("running", "running")
    assert _examined(key, now=True)
    assert await ledger.end(key, SUCCESS, _ended(key))
    assert _states(key) == ("success", "succeeded")
    assert not _examined(key, now=False), "the scheduler looks at the run in its next loop"


async def test_a_run_that_a_scheduler_examines_just_now_is_to_be_nudged_again(
    ledger: Ledger, queued: Queue, airflow_with_sop: str
) -> None:
    if airflow_with_sop == "sqlite":
        return  # has no locks of rows
    key, other = queued(), queued()
    await _begin(ledger, key)
    await _begin(ledger, other)
    with create_session(scoped=False) as scheduler:
        mine = (DagRun.dag_id == key.sop, DagRun.run_id == key.run_id)
        scheduler.execute(select(DagRun.id).where(*mine).with_for_update())
        assert not await ledger.end(key, SUCCESS, _ended(key)), "it is told at once, without waiting for the lock"
        assert await ledger.end(other, SUCCESS, _ended(other))
    assert _states(key) == ("success", "succeeded")
    with create_session() as session:
        session.execute(update(DagRun).where(*mine).values(state="success"))
    assert await MetadataDb().nudge([(key.sop, key.run_id)]) == set(), "what is over needs no scheduler"


async def test_a_retry_keeps_its_memory_for_the_next_try(ledger: Ledger, queued: Queue) -> None:
    key = queued(max_tries=2)
    await _begin(ledger, key)
    assert _examined(key, now=True)
    memory = Output(key=MEMORY_XCOM_KEY, value=4096)
    more = Report(state="up_for_retry", outputs=(memory,), retry_delay_seconds=1, retry_reason="r")
    assert await ledger.end(key, more, _ended(key, "retrying"))
    assert _examined(key, now=False), "it has to look after the delay, not now"
    with create_session() as session:
        query = select(TaskInstance).where(TaskInstance.run_id == key.run_id, TaskInstance.task_id == key.step)
        ti = session.scalars(query).one()
        assert ti.state == "up_for_retry"
        ti.state, ti.try_number = "queued", 2
        second = key.model_copy(update={"attempt": 2, "task_instance_id": str(ti.id)})
    assert (await _begin(ledger, second)).upstream.memory_bytes == 4096
    with create_session() as session:
        stored = [find_attempt(session, one) for one in (key, second)]
        assert [attempt and attempt.memory_bytes for attempt in stored] == [None, 4096], "what each ran with"


async def test_a_step_is_given_what_it_reads(ledger: Ledger, queued: Queue) -> None:
    key = queued()
    await _begin(ledger, key)
    await ledger.end(key, SUCCESS, _ended(key))
    with create_session() as session:
        query = select(TaskInstance).where(TaskInstance.run_id == key.run_id, TaskInstance.task_id == "second")
        ti = session.scalars(query).one()
        ti.state, ti.try_number = "queued", 1
        second = key.model_copy(update={"step": "second", "task_instance_id": str(ti.id)})
    begun = await _begin(ledger, second, reads=["first"], states=True)
    assert begun.upstream.outputs == {"first": {"n": 1}}
    assert begun.upstream.states == {("first", "success"), ("second", "running")}


async def test_what_the_engine_cannot_record_does_not_begin(
    ledger: Ledger, queued: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledger_module, "begin_attempt", _broken)
    key = queued()
    with pytest.raises(RecordingError, match="airflow db migrate"):
        await _begin(ledger, key)
    assert _states(key) == ("queued", None)
    await ledger.refuse(key, IDENTITY)
    assert _states(key) == ("failed", None)


async def test_a_run_of_nobody_does_not_begin(ledger: Ledger, queued: Queue) -> None:
    key = queued()
    stranger = AttemptBegin(key=key.model_copy(update={"run_id": "none"}), kind="step")
    with pytest.raises(RecordingError, match="no run none"):
        await ledger.begin(key, IDENTITY, stranger, reads=(), states=False)
    assert _states(key) == ("queued", None)


async def test_airflow_has_the_result_even_if_the_engine_cannot_record_it(
    ledger: Ledger, queued: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = queued()
    await _begin(ledger, key)
    monkeypatch.setattr(ledger_module, "end_attempt", _broken)
    assert await ledger.end(key, SUCCESS, _ended(key))
    assert _states(key) == ("success", "running")
    await ledger.record(_ended(key))  # is told, and goes on


async def test_what_was_ended_in_airflow_stays_so_and_the_engine_knows_what_it_came_to(
    ledger: Ledger, queued: Queue
) -> None:
    key = queued()
    await _begin(ledger, key)
    with create_session() as session:
        ti = session.get(TaskInstance, UUID(key.task_instance_id))
        assert ti is not None
        ti.state = "failed"
    with pytest.raises(Superseded) as caught:
        await ledger.end(key, SUCCESS, _ended(key))
    assert caught.value.state == "failed"
    assert _states(key) == ("failed", "succeeded")
    with create_session() as session:
        assert session.scalar(select(XComModel.key).where(XComModel.run_id == key.run_id)) is None


async def test_outputs_that_airflow_refuses_leave_nothing_so_that_a_failure_can_follow(
    ledger: Ledger, queued: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW__CORE__MAX_MAP_LENGTH", "1")
    key = queued()
    await _begin(ledger, key)
    items = Report(state="success", outputs=(Output(key="return_value", value=[1, 2], mapped_length=2),))
    with pytest.raises(OutputsRefused):
        await ledger.end(key, items, _ended(key))
    assert _states(key) == ("running", "running")
    await ledger.end(key, Report(state="failed"), _ended(key, "failed"))
    assert _states(key) == ("failed", "failed")


async def test_what_is_no_step_runs_without_a_fact(ledger: Ledger, queued: Queue) -> None:
    key = queued()
    await ledger.begin(key, IDENTITY, None, reads=(), states=False)
    assert _states(key) == ("running", None)
    await ledger.end(key, Report(state="failed"), _ended(key, "failed"))
    assert _states(key) == ("failed", None)


def _broken(*_: object) -> None:
    raise ValueError("no such column")
