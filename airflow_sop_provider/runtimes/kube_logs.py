"""A container's output, each line once, however often the connection to it breaks (`log_times` says how).

Whoever follows an output holds a connection to the API server, and that one to the node. Thousands of pods that run at
once would be thousands of connections, and a client that allows a hundred would then do nothing but follow. So only so
many are followed at once, in turns; what has ended is read at once, by a call like any other.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime

from airflow_sop_provider.runtimes.kube_api import KubeApi
from airflow_sop_provider.runtimes.log_times import Positions, nanoseconds_of, seconds_of

__all__ = ["Followers", "lines_after", "since_of"]

_AT_ONCE = 256
_TURN_SECONDS = 120.0
_TURN_AMONG_MANY_SECONDS = 30.0


class Followers:
    """Places for those whose output is followed while they run.

    :param at_once: how many.
    """

    def __init__(self, at_once: int = _AT_ONCE) -> None:
        self._places = asyncio.Semaphore(at_once)

    async def enter(self, changed: Callable[[], Awaitable[None]]) -> float | None:
        """Wait for a place; return for how many seconds it may be held, None if ``changed`` returned before.

        A place that was given has to be given back with `leave`.
        """
        if not self._places.locked():
            await self._places.acquire()
            return _TURN_SECONDS
        place = asyncio.ensure_future(self._places.acquire())
        change = asyncio.ensure_future(changed())
        try:
            await asyncio.wait({place, change}, return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            if not place.cancel() and not place.cancelled():
                self.leave()
            raise
        finally:
            change.cancel()
        if place.done():
            return _TURN_AMONG_MANY_SECONDS
        place.cancel()
        return None

    def leave(self) -> None:
        """Give a place back."""
        self._places.release()


async def lines_after(
    api: KubeApi, name: str, container: str, offset: int, *, seconds: float | None = None
) -> AsyncIterator[tuple[int, str]]:
    """Follow the output from ``offset`` on until the connection or the container ends.

    :param seconds: follow for so long; None: read what there is of a container that has ended.
    :raises KubeError: as `KubeApi.log`.
    """
    positions = Positions()
    async for line in api.log(name, container, since=since_of(offset), seconds=seconds):
        stamp, _, text = line.partition(b" ")
        moment = nanoseconds_of(stamp.decode(errors="replace"))
        if moment is None:  # the node itself has something to say, about a file it could not read, for example
            continue
        after = positions.after(moment)
        if after > offset:
            yield after, text.decode(errors="replace")


def since_of(offset: int) -> str | None:
    """Return from when on lines may be new, None for all."""
    return f"{datetime.fromtimestamp(seconds_of(offset), UTC):%Y-%m-%dT%H:%M:%SZ}" if offset else None
