"""The executor's child: one attempt at a time for each task instance, in the order in which it was told of them."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from airflow_sop_provider.contract import AttemptKey
from airflow_sop_provider.executors import child as module
from airflow_sop_provider.executors.child import Child
from airflow_sop_provider.executors.messages import AttemptMessage, FinishedMessage, Identity


class Writer:
    """Keeps what the child says to the scheduler."""

    def __init__(self) -> None:
        self.said: list[dict[str, Any]] = []

    def write(self, line: bytes) -> None:
        self.said.append(json.loads(line))


class SlowToCleanUp:
    """An attempt that is reported at once and cleaned up when the test says so."""

    begun: list[int]
    clean: asyncio.Event

    def __init__(self, message: AttemptMessage, services: object) -> None:
        self._message = message

    async def carry(self) -> FinishedMessage:
        self.begun.append(self._message.number)
        key = self._message.key.task_instance_id
        return FinishedMessage(task_instance_id=key, state="reported", number=self._message.number)

    async def clean_up(self) -> None:
        await self.clean.wait()


def _message(number: int) -> bytes:
    key = AttemptKey(sop="s", run_id="r", step="sign", attempt=1, task_instance_id="t")
    identity = Identity(hostname="h", unixname="u", pid=1)
    message = AttemptMessage(key=key, payload=None, log_path="x.log", identity=identity, number=number)
    return message.model_dump_json().encode()


async def test_a_task_that_people_answered_meanwhile_is_carried_once_the_one_that_asked_them_is_cleaned_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    SlowToCleanUp.begun, SlowToCleanUp.clean = [], asyncio.Event()
    monkeypatch.setattr(module, "AttemptCarrier", SlowToCleanUp)
    writer = Writer()
    child = Child(None, asyncio.StreamReader(), writer)  # type: ignore[arg-type]
    child._take(_message(1))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    child._take(_message(2))
    await asyncio.sleep(0)
    assert SlowToCleanUp.begun == [1], "never two of one task instance"
    SlowToCleanUp.clean.set()
    async with asyncio.timeout(10):
        while len(writer.said) < 2:  # noqa: ASYNC110  each turn lets the child go on
            await asyncio.sleep(0)
    assert SlowToCleanUp.begun == [1, 2]
    assert [one["number"] for one in writer.said] == [1, 2]
