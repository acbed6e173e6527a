"""Calls follow each other as fast as they may, in the order in which they came."""

from __future__ import annotations

import asyncio

from airflow_sop_provider.runtimes.pace import Pace


class Clock:
    """Time that passes only where somebody waits."""

    def __init__(self) -> None:
        self.now = 100.0
        self.pauses: list[float] = []

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.pauses.append(round(seconds, 6))


def paused(clock: Clock, pace: Pace, turns: int) -> list[float]:
    async def take() -> None:
        for _ in range(turns):
            await pace.turn()

    asyncio.run(take())
    found, clock.pauses = clock.pauses, []
    return found


def test_after_a_burst_each_waits_for_the_one_before() -> None:
    clock = Clock()
    pace = Pace(10, 3, clock=clock, sleep=clock.sleep)
    assert paused(clock, pace, 6) == [0.1, 0.2, 0.3], "three at once, then ten a second, whoever asks at the same time"
    clock.now += 0.3
    assert paused(clock, pace, 1) == [0.1]
    clock.now += 60
    assert paused(clock, pace, 3) == [], "after a rest there is a burst again, and no larger one"
    assert paused(clock, pace, 1) == [0.1]


def test_it_waits_by_the_clock_of_the_event_loop() -> None:
    async def many() -> float:
        pace = Pace(1000, 1)
        began = asyncio.get_running_loop().time()
        await asyncio.gather(*(pace.turn() for _ in range(51)))
        return asyncio.get_running_loop().time() - began

    assert asyncio.run(many()) >= 0.049, "no sooner; how much later is not what this is about"
