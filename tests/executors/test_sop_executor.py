"""The scheduler's side: what is handed over, what is reported, what happens when the child dies."""

from __future__ import annotations

import os
import signal
import time

import pytest
from airflow.executors.workloads import ExecuteCallback

from airflow_sop_provider.executors import sop_executor
from airflow_sop_provider.executors.child_link import ChildGone, ChildLink
from airflow_sop_provider.executors.messages import FinishedMessage, RevokeMessage
from airflow_sop_provider.executors.sop_executor import SopExecutor
from tests.executors.attempts import RecordingLink, workload


@pytest.fixture
def links(monkeypatch: pytest.MonkeyPatch) -> list[RecordingLink]:
    """Every link the executor opens."""
    opened: list[RecordingLink] = []

    def open_link() -> RecordingLink:
        opened.append(RecordingLink())
        return opened[-1]

    monkeypatch.setattr(sop_executor, "ChildLink", open_link)
    return opened


def _running(links: list[RecordingLink], *steps: str) -> SopExecutor:
    executor = SopExecutor(parallelism=8)
    executor.start()
    for step in steps:
        executor.queue_workload(workload(step), session=None)
    executor.heartbeat()
    return executor


def test_a_queued_step_is_handed_over_once(links) -> None:
    executor = _running(links, "a")
    executor.heartbeat()
    assert [message.key.step for message in links[0].sent] == ["a"]
    assert len(executor.running) == 1


def _finished(message, state) -> FinishedMessage:
    return FinishedMessage(
        task_instance_id=message.key.task_instance_id, state=state, info="why", number=message.number
    )


@pytest.mark.parametrize("state", ["success", "failed"])
def test_an_end_that_airflow_does_not_know_is_reported_to_the_scheduler(links, state) -> None:
    executor = _running(links, "a")
    message = links[0].sent[0]
    links[0].says.append(_finished(message, state))
    executor.sync()
    assert executor.get_event_buffer() == {message.task_instance_key: (state, "why")}
    assert not executor.running


def test_an_end_nobody_waits_for_is_ignored(links) -> None:
    executor = _running(links)
    links[0].says.append(FinishedMessage(task_instance_id="unknown", state="success", number=1))
    executor.sync()
    assert executor.get_event_buffer() == {}


@pytest.mark.parametrize("state", ["reported", "elsewhere"])
def test_an_attempt_of_which_airflow_has_or_gets_the_state_is_forgotten_without_an_event(links, state) -> None:
    executor = _running(links, "a")
    key = links[0].sent[0].key.task_instance_id
    links[0].says.append(FinishedMessage(task_instance_id=key, state=state, number=1))
    executor.sync()
    assert executor.get_event_buffer() == {}
    assert not executor.running


@pytest.mark.parametrize("when", ["on sync", "on send"])
def test_a_dead_child_is_replaced_and_gets_everything_that_runs(links, when) -> None:
    executor = _running(links, "a", "b")
    links[0].gone = ChildGone("killed")
    if when == "on send":
        executor.queue_workload(workload("c"), session=None)
        executor.heartbeat()
    else:
        executor.sync()
    assert links[0].closed
    expected = {"a", "b", "c"} if when == "on send" else {"a", "b"}
    assert {message.key.step for message in links[1].sent} == expected


def test_revoking_stops_and_forgets(links) -> None:
    executor = _running(links, "a")
    message = links[0].sent[0]

    class Instance:
        key = message.task_instance_key
        id = message.key.task_instance_id

    executor.revoke_task(ti=Instance())
    assert isinstance(links[0].sent[-1], RevokeMessage)
    assert not executor.running


def test_end_and_terminate_close_the_child_and_can_be_repeated(links) -> None:
    executor = _running(links, "a")
    executor.end()
    executor.end()
    executor.terminate()
    assert links[0].closed
    with pytest.raises(RuntimeError, match="before start"):
        executor._send(RevokeMessage(task_instance_id="x"))


def test_only_tasks(links) -> None:
    executor = _running(links)
    with pytest.raises(TypeError, match="tasks only"):
        executor._process_workloads([ExecuteCallback.model_construct()])


def _listen_until_gone(link: ChildLink) -> None:
    while True:
        link.receive()
        time.sleep(0.05)


@pytest.mark.slow
def test_the_real_child_starts_is_killed_and_notices_that_its_scheduler_is_gone() -> None:
    link = ChildLink()
    os.kill(link.pid, signal.SIGKILL)
    with pytest.raises(ChildGone, match="ended with code"):
        _listen_until_gone(link)
    link.close()
    second = ChildLink()
    second.close(timeout=60)
    with pytest.raises(ProcessLookupError):
        os.kill(second.pid, 0)


def test_an_answer_to_an_earlier_message_does_not_end_a_task_that_people_have_answered(links) -> None:
    executor = _running(links, "a")
    [first] = links[0].sent
    executor._carry(first)  # the approval was answered and queued again before the child's answer was read
    links[0].says.append(FinishedMessage(task_instance_id=first.key.task_instance_id, state="reported", number=1))
    executor.sync()
    assert first.task_instance_key in executor.running
    links[0].says.append(FinishedMessage(task_instance_id=first.key.task_instance_id, state="reported", number=2))
    executor.sync()
    assert not executor.running
