"""Transactions made one: what is in it is there whole or not at all, and nobody suffers for another's fault."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any
from uuid import UUID

import pytest
from airflow import settings
from airflow.models.taskinstance import TaskInstance
from airflow.models.variable import Variable
from airflow.utils.session import create_session
from sqlalchemy import delete, select, update
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from airflow_sop_provider.executors import group_commit
from airflow_sop_provider.executors.group_commit import GroupCommit, transaction
from tests.executors.conftest import Queue

pytestmark = pytest.mark.usefixtures("airflow_with_sop")


@pytest.fixture
def commit(airflow_with_sop: str) -> Iterator[GroupCommit]:
    made = GroupCommit()
    yield made
    made.close()
    with create_session() as session:
        session.execute(delete(Variable))


def _put(key: str, fault: Exception | None = None) -> Any:
    def work(session: Session) -> str:
        session.add(Variable(key=key, val="v"))
        session.flush()
        if fault is not None:
            raise fault
        return key

    return work


def _stored() -> set[str]:
    with create_session() as session:
        return set(session.scalars(select(Variable.key)))


@pytest.fixture
def commits(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many works each transaction that was begun had."""
    counted: list[int] = []
    together = group_commit._together

    def counting(batch: Any) -> Any:
        counted.append(len(batch))
        return together(batch)

    monkeypatch.setattr(group_commit, "_together", counting)
    return counted


async def test_what_waits_meanwhile_is_written_together(commit: GroupCommit, commits: list[int]) -> None:
    names = [f"k{number}" for number in range(60)]
    assert await asyncio.gather(*(commit.run(_put(name)) for name in names)) == names
    assert _stored() == set(names)
    assert commits == [25, 25, 10]


async def test_one_that_fails_spoils_nothing_of_the_others(commit: GroupCommit, commits: list[int]) -> None:
    works = [_put("a"), _put("b", ValueError("bad")), _put("c")]
    results = await asyncio.gather(*(commit.run(work) for work in works), return_exceptions=True)
    assert [str(result) for result in results] == ["a", "bad", "c"]
    assert _stored() == {"a", "c"}
    assert commits == [3, 1, 1, 1]


async def test_a_database_that_is_away_is_waited_for(
    commit: GroupCommit, commits: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(group_commit, "_AWAY_SECONDS", 0.01)
    away = [OperationalError("x", {}, Exception("away")), OperationalError("x", {}, Exception("away"))]

    def work(session: Session) -> str:
        _put("a")(session)
        if away:
            raise away.pop()
        return "there"

    assert await asyncio.gather(commit.run(work), commit.run(_put("b"))) == ["there", "b"]
    assert _stored() == {"a", "b"}
    assert commits == [2, 2, 2]


async def test_an_attempt_that_is_cancelled_meanwhile_holds_nobody_up(commit: GroupCommit) -> None:
    waiting = [asyncio.ensure_future(commit.run(_put(name))) for name in ("a", "b")]
    await asyncio.sleep(0)
    waiting[0].cancel()
    assert await waiting[1] == "b"


def test_a_function_that_commits_does_not_end_the_transaction() -> None:
    def work() -> None:
        with transaction() as session:
            session.add(Variable(key="a", val="v"))
            session.commit()
            assert session.scalar(select(Variable.key)) == "a", "its user sees it"
            raise LookupError

    with pytest.raises(LookupError):
        work()
    assert _stored() == set()


def test_a_function_that_gives_up_gives_up_the_whole() -> None:
    def airflows(session: Session) -> None:
        try:
            raise KeyError("what went wrong")
        except KeyError:
            session.rollback()
            raise AssertionError("it would go on in a transaction that has lost its beginning") from None

    def work() -> None:
        with transaction() as session:
            _put("a")(session)
            airflows(session)

    with pytest.raises(KeyError, match="what went wrong"):
        work()
    assert _stored() == set()
    with pytest.raises(RuntimeError, match="alone"), transaction() as session:
        session.rollback()


def test_its_session_is_made_as_airflows_are() -> None:
    with transaction() as ours, create_session(scoped=False) as theirs:
        assert (ours.autoflush, ours.expire_on_commit) == (theirs.autoflush, theirs.expire_on_commit)
        assert ours.get_bind() is theirs.get_bind()


def test_without_airflows_settings_it_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings, "NonScopedSession", None)
    with pytest.raises(RuntimeError, match=r"initialize\(\)"), transaction():
        pass


async def test_who_works_on_a_locked_task_instance_lets_others_go_first(
    commit: GroupCommit, queued: Queue, airflow_with_sop: str
) -> None:
    if airflow_with_sop == "sqlite":
        return  # has no locks of rows
    locked, free = queued().task_instance_id, queued().task_instance_id
    with create_session(scoped=False) as dead:
        dead.execute(update(TaskInstance).where(TaskInstance.id == UUID(locked)).values(pid=1))
        late = asyncio.ensure_future(commit.run(_put("late"), task_instance=locked))
        assert await commit.run(_put("free"), task_instance=free) == "free"
        assert await commit.run(_put("other")) == "other"
        assert not late.done()
    assert await late == "late"


async def test_a_task_instance_that_is_gone_is_not_waited_for(commit: GroupCommit) -> None:
    gone = "00000000-0000-0000-0000-000000000000"
    assert await commit.run(_put("a"), task_instance=gone) == "a"
