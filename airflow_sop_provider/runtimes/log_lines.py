"""Following a growing file line by line, resumable at any offset it has given.

The offset is a plain position in the file, so a follower that was killed continues where the last
line it handed out ended: each line once. A line without end (a program may print without newline,
or gigabytes) is cut at a fixed length counted from its beginning, so the cuts are the same however
often reading is resumed.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

__all__ = ["LINE_LIMIT", "LogWatch", "split_lines"]

LINE_LIMIT = 64 * 1024
"""Bytes of a line after which it is cut."""

_BLOCK = 256 * 1024


def split_lines(data: bytes, *, final: bool) -> Iterator[tuple[int, str]]:
    """Yield (bytes consumed so far, line) for the complete lines of ``data``; with ``final`` also for its rest."""
    begin = 0
    while begin < len(data):
        newline = data.find(b"\n", begin, begin + LINE_LIMIT + 1)
        if newline >= 0:
            line, after = data[begin:newline], newline + 1
        elif len(data) - begin > LINE_LIMIT:
            after = _cut(data, begin)
            line = data[begin:after]
        elif final:
            line, after = data[begin:], len(data)
        else:
            return
        begin = after
        yield after, line.decode(errors="replace")


def _cut(data: bytes, begin: int) -> int:
    """Return where to cut an overlong line: not inside a UTF-8 character."""
    end = begin + LINE_LIMIT
    for candidate in range(end, end - 4, -1):
        if data[candidate] & 0xC0 != 0x80:  # not a continuation byte: a character begins here
            return candidate
    return end


@dataclass(eq=False)
class _Follower:
    path: Path
    seen: int
    wake: asyncio.Event = field(default_factory=asyncio.Event)


class LogWatch:
    """Looks after all followed files in one task: a timer for each quiet file would cost 20 times as much as looking.

    :param interval: seconds between looks.
    """

    def __init__(self, interval: float = 0.1) -> None:
        self._interval = interval
        self._followers: set[_Follower] = set()
        self._task: asyncio.Task[None] | None = None

    async def follow(self, path: Path, offset: int, over: asyncio.Future[Any]) -> AsyncIterator[tuple[int, str]]:
        """Yield (offset after the line, line) until ``over`` is done and the file is read to its end."""
        follower = _Follower(path, offset)
        over.add_done_callback(lambda _: follower.wake.set())
        self._followers.add(follower)
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._look(), name="sop-log-watch")
        rest = b""
        try:
            while True:
                follower.wake.clear()
                last = over.done()  # before reading: what is written after it is nobody's
                if last and over.cancelled():  # nobody watches any more: the last line may not be complete
                    return
                block = _read(path, offset + len(rest))
                data, consumed = rest + block, 0
                for consumed, line in split_lines(data, final=last and len(block) < _BLOCK):
                    yield offset + consumed, line
                offset, rest = offset + consumed, data[consumed:]
                follower.seen = offset + len(rest)
                if len(block) < _BLOCK:
                    if last:
                        return
                    await follower.wake.wait()
        finally:
            self._followers.discard(follower)

    async def _look(self) -> None:
        while self._followers:
            await asyncio.sleep(self._interval)
            for follower in self._followers:
                if _size(follower.path) > follower.seen:
                    follower.wake.set()


def _size(path: Path) -> int:
    try:
        return os.stat(path).st_size
    except OSError:
        return 0


def _read(path: Path, offset: int) -> bytes:
    try:
        with open(path, "rb", buffering=0) as file:
            return os.pread(file.fileno(), _BLOCK, offset)
    except FileNotFoundError:
        return b""
