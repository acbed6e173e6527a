"""Following an execution by server-sent events, over connections that break.

Each event holds all of where the execution stands, so after a broken connection the next one's first event makes up
for whatever was missed; an event that says nothing new is passed over.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager

import httpx
from httpx_sse import EventSource, SSEError

from airflow_sop_provider.client.calls import EngineError, ExecutionStatus, checked, status_of

__all__ = ["Opener", "follow"]

_TRIES = 6
_AGAIN = frozenset({502, 503, 504})

Opener = Callable[[], AbstractContextManager[httpx.Response]]
"""Opens the stream anew."""


def follow(opened: Opener, sleep: Callable[[float], None] = time.sleep) -> Iterator[ExecutionStatus]:
    """Yield where an execution stands, now and at every change, up to its final status.

    :raises RefusedError: there is no such execution.
    :raises NotAllowedError: who asks may not see it.
    :raises EngineError: no answer in six tries, 1, 2, 4 ... seconds apart, without any news between them.
    """
    known: ExecutionStatus | None = None
    failures = 0
    while True:
        reason = "it closed the connection"
        try:
            for now in _of_one_connection(opened):
                failures = 0
                if now != known:
                    known = now
                    yield now
                if now.is_final:
                    return
        except (httpx.TransportError, SSEError) as error:
            reason = str(error) or type(error).__name__
        except EngineError as error:
            if error.status not in _AGAIN:
                raise
            reason = str(error)
        failures += 1
        if failures == _TRIES:
            raise EngineError(f"the engine does not answer: {reason}")
        sleep(2.0 ** (failures - 1))


def _of_one_connection(opened: Opener) -> Iterator[ExecutionStatus]:
    with opened() as answer:
        if not answer.is_success:
            answer.read()
            checked(answer)
        for event in EventSource(answer).iter_sse():
            if event.event == "status":
                yield status_of(json.loads(event.data))
