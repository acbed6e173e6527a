"""How fast calls may follow each other: so many a second, after a burst, in the order in which they came.

An executor that is started again while thousands of pods run would otherwise ask for all of them at once, and an API
server in trouble gets no better by that. Written here because the library we have for rates (`limits`) only says no,
and whoever is told so would have to ask again and again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

__all__ = ["Pace"]


class Pace:
    """Generic cell rate algorithm (ITU-T I.371): one number, the time at which the next call is due.

    :param per_second: calls a second in the long run.
    :param burst: calls that may come at once after a pause.
    :param clock: seconds that only grow; the event loop's by default.
    :param sleep: waits for seconds.
    """

    def __init__(
        self,
        per_second: float,
        burst: int,
        *,
        clock: Callable[[], float] | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._interval = 1.0 / per_second
        self._ahead = self._interval * (burst - 1)
        self._clock = clock
        self._sleep = sleep
        self._due = 0.0

    async def turn(self) -> None:
        """Return when it is this caller's turn."""
        now = asyncio.get_running_loop().time() if self._clock is None else self._clock()
        due = max(self._due, now)
        self._due = due + self._interval
        if (pause := due - self._ahead - now) > 0:
            await self._sleep(pause)
