"""Calls the engine at a fixed rate and notes how long each answer took: status queries and runners' heartbeats.

An open loop: a call is due at its time whether or not those before it are answered, and its time counts from when it
was due. So a server that stalls is seen in every call of that moment, not in one. A program of its own, that its CPU
time can be told from the rest: it is on the same cores.
"""

from __future__ import annotations

import asyncio
import json
import random
import resource
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from urllib.parse import quote

import aiohttp
import uvloop

__all__ = ["Load", "Measured", "call_for"]

_HEARTBEAT = (
    '{{"events":[{{"seq":0,"time":"2026-11-25T08:00:00.000000Z","event":"heartbeat","elapsed_seconds":{:.3f}}}]}}'
)
_SEED = 7
_PATIENCE = aiohttp.ClientTimeout(total=10.0)
"""What is not answered by then is an error, and the server is too slow."""


@dataclass(frozen=True, kw_only=True)
class Load:
    """What is called, how often, for how long.

    :param running: files of `benchmarks.engine_facts`.
    :param statuses: status queries a second, ``heartbeats`` likewise.
    """

    url: str
    sop: str
    token: str
    running: list[str]
    statuses: float
    heartbeats: float
    seconds: float


@dataclass(kw_only=True)
class Measured:
    """What the calls came to: seconds of each, how many were answered how, and our own CPU time."""

    status: list[float] = field(default_factory=list)
    heartbeat: list[float] = field(default_factory=list)
    answers: dict[str, int] = field(default_factory=dict)
    cpu_seconds: float = 0.0
    seconds: float = 0.0


async def call_for(load: Load) -> Measured:
    """Call for as long as ``load`` says."""
    listed = [one for file in load.running for one in json.loads(Path(file).read_text())]  # noqa: ASYNC240  once
    chosen = random.Random(_SEED)
    measured, answers = Measured(), Counter[str]()
    base = f"{load.url}/sop/api/v1"
    admin = {"Authorization": f"Bearer {load.token}"}
    # browsers and clients keep their connections; a runner makes one for each call, as `http.client` does
    async with (
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), timeout=_PATIENCE) as people,
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0, force_close=True), timeout=_PATIENCE) as runners,
    ):

        async def status(number: int) -> None:
            run = chosen.choice(listed)["run"]
            path = f"{base}/sops/{load.sop}/executions/{quote(run, safe='')}/status"
            async with people.get(path, headers=admin) as answer:
                body = await answer.read()
                right = answer.status == 200 and b'"RUNNING"' in body
                answers[f"status {answer.status if right or answer.status != 200 else 'wrong'}"] += 1

        async def heartbeat(number: int) -> None:
            token = listed[number % len(listed)]["token"]
            headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
            body = _HEARTBEAT.format(float(number)).encode()
            async with runners.post(f"{base}/runner/events", data=body, headers=headers) as answer:
                await answer.read()
                answers[f"heartbeat {answer.status}"] += 1

        began, used = time.monotonic(), _cpu()
        await asyncio.gather(
            _at_rate(load.statuses, load.seconds, status, measured.status, answers),
            _at_rate(load.heartbeats, load.seconds, heartbeat, measured.heartbeat, answers),
        )
        measured.seconds, measured.cpu_seconds = time.monotonic() - began, _cpu() - used
    measured.answers = dict(answers)
    return measured


async def _at_rate(
    rate: float, seconds: float, call: Callable[[int], Awaitable[None]], times: list[float], answers: Counter[str]
) -> None:
    began = time.monotonic()
    under_way: set[asyncio.Task[None]] = set()

    async def one(number: int, due: float) -> None:
        try:
            await call(number)
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            answers[f"{call.__name__} {type(error).__name__}"] += 1
        else:
            times.append(time.monotonic() - due)

    for number in range(int(rate * seconds)):
        due = began + number / rate
        await asyncio.sleep(max(0.0, due - time.monotonic()))
        task = asyncio.create_task(one(number, due))
        under_way.add(task)
        task.add_done_callback(under_way.discard)
    await asyncio.gather(*under_way)


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def main(arguments: Sequence[str]) -> int:
    """Read the load from a file, write what was measured into another."""
    asked, told = map(Path, arguments)
    measured = uvloop.run(call_for(Load(**json.loads(asked.read_text()))))
    told.write_text(json.dumps(asdict(measured)))
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
